"""spyne 2.14, imported as it can be: on Python 3.11, quietly, with its importer mended.

Its own copy of six finds modules by a protocol that Python 3.12 no longer has, and until then warns
at every import of anything that nobody finds; and it needs `cgi`, which Python 3.13 no longer has.
"""

from __future__ import annotations

import logging
import sys
import warnings

if sys.version_info >= (3, 12):
    raise ImportError(
        "the SOAP server needs Python 3.11: spyne 2.14 cannot be imported on "
        f"{sys.version_info.major}.{sys.version_info.minor}. Place soap_server on a host with "
        "Debian 12; the client runs anywhere"
    )

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from spyne import (
        Application,
        Array,
        ComplexModel,
        Decimal,
        Fault,
        Integer32,
        Integer64,
        Service,
        Unicode,
        UnsignedInteger32,
        rpc,
    )
    from spyne.protocol.soap import Soap11
    from spyne.server.wsgi import WsgiApplication
    from spyne.util import six

type(six._importer).find_spec = lambda *_: None
logging.getLogger("spyne").setLevel(logging.CRITICAL)  # each fault is an answer, not an error

__all__ = [
    "Application",
    "Array",
    "ComplexModel",
    "Decimal",
    "Fault",
    "Integer32",
    "Integer64",
    "Service",
    "Soap11",
    "Unicode",
    "UnsignedInteger32",
    "WsgiApplication",
    "rpc",
]
