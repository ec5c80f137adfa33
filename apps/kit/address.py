"""Addresses as people write them: `host:port`, `[v6]:port`."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """A host (name or IP) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Address:
        """Read `host:port`, or `host` where there is a default; ValueError says what is wrong."""
        host, colon, port = text.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = text, "" if default_port is None else str(default_port)
        host = host.removeprefix("[").removesuffix("]")
        if not host:
            raise ValueError(f"{text!r} names no host")
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} needs a port from 1 to 65535, as in {host}:8080")
        return cls(host, int(port))
