"""The wheelhouse: what of the lock is fetched, and what is built here."""

from __future__ import annotations

from lab import wheelhouse

LOCKED = """\
# made by a tool
click==8.3.1 \\
    --hash=sha256:aa
    # via distlab
spyne==2.14.0 \\
    --hash=sha256:bb
    # via distlab (pyproject.toml)
uv==0.13.8 \\
    --hash=sha256:cc
"""


def test_a_lock_is_parted_by_names() -> None:
    published, unbuilt = wheelhouse.split_lock(LOCKED, ["spyne"])
    assert unbuilt == "\n".join(LOCKED.splitlines()[4:7]) + "\n"
    assert [line for line in published.splitlines() if "==" in line] == [
        "click==8.3.1 \\",
        "uv==0.13.8 \\",
    ]
    assert wheelhouse.split_lock(LOCKED, []) == (LOCKED, "")
