"""Build the hosts' image with nothing there; run as root in a mount namespace of its own.

    unshare --mount --propagation=private python -m benchmarks.cold_image

prints one JSON object last: how many seconds it took.
"""

from __future__ import annotations

import json
import shutil
import signal
import time

from lab.catalogue import ROOT
from lab.hosts import image, state
from lab.hosts.command import run
from lab.hosts.inventory import DEFAULT_SUITE
from lab.hosts.spec import ImageSpec

EMPTY = state.ROOT / "benchmark"


def main() -> None:
    """Put an empty directory where the images are, build one, remove it."""
    shutil.rmtree(EMPTY, ignore_errors=True)  # of one that was killed
    EMPTY.mkdir(mode=0o700, parents=True)
    run(["mount", "--bind", str(EMPTY), str(state.ROOT)])
    state.prepare()
    try:
        print(json.dumps({"seconds": build()}))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # one Ctrl-C is enough
        with state.locked("images", print):  # the build holds it until its last process is gone
            run(["umount", "--lazy", str(state.ROOT)])
        shutil.rmtree(EMPTY)


def build() -> float:
    """Build it; the seconds that took."""
    spec = ImageSpec(DEFAULT_SUITE, image.declared_packages(ROOT / "roles", DEFAULT_SUITE))
    with state.locked("images", print) as lock:
        began = time.perf_counter()
        image.ensure(spec, lock, print)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
