"""Ice itself: Debian's, for no registry of Python packages has one that need not be compiled.

It is a library of the system's Python. The virtual environment is made from that very Python, and
what it brings itself goes first: the system's libraries stand at the end of the path.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

SYSTEM = "/usr/lib/python3/dist-packages"
if SYSTEM not in sys.path:
    sys.path.append(SYSTEM)

try:
    import Ice
except ImportError as error:
    raise ImportError(f"{error}: Ice is missing (apt-get install python3-zeroc-ice)") from error

__all__ = ["Ice", "communicator"]


def communicator(
    properties: Mapping[str, object], dispatcher: Callable[[Any, Any], None] | None = None
) -> Any:
    """Give a new run time of Ice; the dispatcher says where calls and answers are handled."""
    data = Ice.InitializationData()
    data.properties = Ice.createProperties()
    for name, value in properties.items():
        data.properties.setProperty(f"Ice.{name}", str(value))
    data.dispatcher = dispatcher
    return Ice.initialize(data)
