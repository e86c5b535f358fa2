# SPDX-License-Identifier: Apache-2.0
"""Run the command line as `python -m mantlet`; everything else is in `mantlet.cli`."""

import sys

from mantlet.cli import main

if __name__ == "__main__":
    sys.exit(main())
