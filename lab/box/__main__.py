"""Build the box, unless Vagrant has it: `make box`."""

from __future__ import annotations

import sys

from lab.box import kvm, pack
from lab.errors import LabError
from lab.screen import progress


def main() -> None:
    """Build it, and say how its machines will run; what is wrong is told in two lines."""
    try:
        pack.ensure(progress.print)
    except LabError as error:
        sys.exit(f"error: {error}")
    answer = kvm.ask()
    slow = "" if answer.driver == "kvm" else "; without it machines are emulated, and slow"
    progress.print(f"{answer.why}{slow}")


if __name__ == "__main__":
    main()
