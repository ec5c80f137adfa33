"""Host tests need a Linux machine and root on it; continuous integration must provide both."""

from __future__ import annotations

import os
import sys

import pytest


@pytest.fixture(scope="session")
def needs_root() -> None:
    """Skip without Linux or root, with the reason; under CI=true that is a failure instead."""
    if sys.platform != "linux":
        reason = f"the embedded hosts need Linux, and this is {sys.platform}"
    elif os.geteuid() != 0:
        reason = "this test looks at what only root sees: sudo make test"
    else:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
