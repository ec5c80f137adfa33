"""Addresses as people write them: `host:port`, `[v6]:port`."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_WRITTEN = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^\[\]:\s]*))(?::(?P<port>[^:]*))?")


class Address(NamedTuple):
    """A host (name or IP) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Address:
        """Read `host:port`, or `host` where there is a default; ValueError says what is wrong."""
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise ValueError(
                f"{text!r} is no host:port; an IPv6 address goes in brackets: [::1]:80"
            )
        v6, name, port = written["v6"], written["name"], written["port"]
        if v6 is not None:
            _check_v6(v6, text)
        elif not name:
            raise ValueError(f"{text!r} names no host")
        if port is None and default_port is not None:
            return cls(v6 or name, default_port)
        if not re.fullmatch("[0-9]{1,5}", port or "") or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} needs a port from 1 to 65535, as in {name or f'[{v6}]'}:80")
        return cls(v6 or name, int(port))


def _check_v6(host: str, text: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError as error:
        raise ValueError(f"{text!r} has no IPv6 address in its brackets: {error}") from None
