"""What can be done to this host, by kind: begun, checked whether it took, ended.

A module of a kind has three functions of a record:

    begin(record)              bring it about; it may keep in record.kept how it was before
    check(record) -> figures   measure that it took; Trouble if it did not
    end(record)                undo it, also if `begin` stopped half way or never came to act

`begin` and `end` find `records.load()` as it shall be: with the record, and without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

from lab.faults.onhost.records import Record


class Kind(Protocol):
    """A module of a kind."""

    def begin(self, record: Record) -> None:
        """Bring it about."""

    def check(self, record: Record) -> dict[str, Any]:
        """Measure that it took."""

    def end(self, record: Record) -> None:
        """Undo it."""


MODULES: Mapping[str, str] = {
    "kill": "kill",
    "pause": "pause",
    "block": "block",
    "link": "link",
    "reset": "reset",
    "clock": "clock",
    "disk": "disk",
}


def kind(name: str) -> Kind:
    """Give the module of a kind; it is loaded only now, so that healing is quick."""
    return cast("Kind", importlib.import_module(f"lab.faults.onhost.{MODULES[name]}"))
