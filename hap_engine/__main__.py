"""``python -m hap_engine``: the terminal command, see `hap_engine.cli.commands`."""

import sys

from hap_engine.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
