"""Which libzmq this pattern's processes run on: Debian's, which has PGM and NORM.

The wheels on PyPI bundle a libzmq that was built with neither, and the virtual environment holds
such a wheel, which other patterns want. Debian's python3-zmq is linked to a libzmq with both. So
here, and here alone, the package `zmq` is taken from the system's directory, before anybody in this
process imports another. `sys.path` stays as it is: nothing else comes from there.

Where Debian's is not installed, the environment's own is taken, and can do what it can: the probe
says what it lacks.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

SYSTEM = "/usr/lib/python3/dist-packages"
PACKAGE = "python3-zmq"
"""What Debian calls it."""


class WrongBuild(ImportError):
    """A pyzmq that this process cannot use; the text says why, and what to do."""


def load(directory: str = SYSTEM) -> ModuleType:
    """Import the directory's pyzmq, or the environment's own if there is none; WrongBuild."""
    if "zmq" in sys.modules:  # by somebody else in this process, as in tests: there is but one
        return sys.modules["zmq"]
    spec = PathFinder.find_spec("zmq", [directory])
    if spec is None or spec.loader is None:
        return importlib.import_module("zmq")
    module = importlib.util.module_from_spec(spec)
    sys.modules["zmq"] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "zmq"]:
            del sys.modules[name]
        raise WrongBuild(
            f"{directory}/zmq was not built for this Python {sys.version.split()[0]}: {error}; "
            "run this by an environment made from /usr/bin/python3"
        ) from error
    return module


if TYPE_CHECKING:
    import zmq
    import zmq.asyncio
else:
    zmq = load()
    importlib.import_module("zmq.asyncio")

__all__ = ["PACKAGE", "SYSTEM", "WrongBuild", "load", "zmq"]
