"""Widgets over the package: each shows what another module has worked out, and has a twin in plain text.

Nothing here decides anything a script could want to know. Import what you need from the modules.
"""
