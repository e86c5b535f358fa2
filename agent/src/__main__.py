# SPDX-License-Identifier: Apache-2.0
"""Entry of `/usr/lib/mantlet` in the image: `python3 -IB /usr/lib/mantlet boot`, or `serve`.

Owns the choice between the two processes of the agent. There are no options, and no environment is read.
"""

import sys


def main(argv: list[str]) -> int:
    """Run the one named process and return its exit code; 2 for any other command line."""
    if argv == ["boot"]:
        from mantlet_agent.boot import main as boot

        return boot()
    if argv == ["serve"]:
        from mantlet_agent.serve import main as serve

        return serve()
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
