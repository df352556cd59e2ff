"""``python -m p2pchat``: the command line."""

from __future__ import annotations

import sys

from p2pchat.cli import main

if __name__ == "__main__":
    sys.exit(main())
