"""`python -m darkroom` is the `darkroom` command."""

import sys

if not sys.flags.safe_path:
    # The current folder, which Python has put first: a json.py there is not ours to import.
    del sys.path[0]

from darkroom.cli import main

if __name__ == "__main__":
    sys.exit(main())
