"""`python -m occfeat` is the command line."""

import sys

from occfeat.cli import main

if __name__ == "__main__":
    sys.exit(main())
