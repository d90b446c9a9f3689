"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("gptoss-lab")
except PackageNotFoundError:  # a copy of the folder without an installation
    __version__ = "0+unknown"
