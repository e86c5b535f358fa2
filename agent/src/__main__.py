# SPDX-License-Identifier: Apache-2.0
"""Entry of `/usr/lib/mantlet` in the image: `python3 -ISB /usr/lib/mantlet boot`, `serve`, `fuse` or `fetch`.

Owns the choice between the four processes of the agent, and where they find what Debian packages for Python.
There are no options, and no environment is read; without `site` no `.pth` file is either.
"""

import sys

_PACKAGES = "/usr/lib/python3/dist-packages"


def main(argv: list[str]) -> int:
    """Run the one named process and return its exit code; 2 for any other command line."""
    sys.path.append(_PACKAGES)
    if argv == ["boot"]:
        from mantlet_agent.boot import main as boot

        return boot()
    if argv == ["serve"]:
        from mantlet_agent.serve import main as serve

        return serve()
    if argv == ["fuse"]:
        from mantlet_agent.fuse import main as fuse

        return fuse()
    if argv == ["fetch"]:
        from mantlet_agent.fetch import main as fetch

        return fetch()
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
