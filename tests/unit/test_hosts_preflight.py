"""What is missing is named, with the command that gets it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.hosts import preflight, state


def test_missing_tools_are_named_with_their_packages() -> None:
    tools = {"sh": "dash", "no-such-tool": "a-package", "nor-this": "another"}
    with pytest.raises(LabError, match="lacks no-such-tool, nor-this") as refused:
        preflight.check_tools(tools, keyring=False)
    assert refused.value.fix.endswith("apt-get install --no-install-recommends a-package another")


def test_too_little_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "ROOT", tmp_path)
    preflight.check_space(0)
    with pytest.raises(LabError, match=r"has \d+ MiB left; this lab needs up to 1000000000"):
        preflight.check_space(10**9)


def test_a_disk_that_fills_up_meanwhile() -> None:
    with pytest.raises(LabError, match="is full"), preflight.disk_full_explained():
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), preflight.disk_full_explained():
        raise PermissionError(errno.EACCES, "Permission denied")
