"""`python -m symbackprop`: the command line."""

import sys

from symbackprop.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
