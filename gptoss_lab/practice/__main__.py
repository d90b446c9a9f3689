"""`python -m gptoss_lab.practice`: the practice server that `process.ensure()` starts in the background."""

import argparse
import sys

from gptoss_lab.practice.process import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port wanted; another one if it is taken")
    sys.exit(main(parser.parse_args().port))
