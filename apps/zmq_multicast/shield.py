"""What keeps hostile datagrams from libzmq: a filter of the kernel on the sockets that it opened.

libzmq takes it for granted that whoever sends to its group is another libzmq: an empty datagram, a
message cut short or an offset that points beyond its end make it abort, and with it the process
(`status == PGM_IO_STATUS_NORMAL`, `insize >= sizeof (uint16_t)`, `offset <= insize`, and as much
again within OpenPGM). So a classic BPF program (socket(7), SO_ATTACH_FILTER) is attached to its
sockets, which lets nothing pass but the packets that libzmq itself would send:

    at  bytes
    0   8      UDP's header; the filter sees it
    12  1      type (RFC 3208, section 8): SPM 0, ODATA 4, RDATA 5, NAK 8, NCF 10, SPMR 12
    13  1      options: data has none
    22  2      how many bytes of data follow the header: all that there are
    24  8      of data: its number, and that of the window's end
    32  2      of data: where its first message begins, or FFFF; within the packet

It is no signature: what is well made passes, whoever made it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SO_ATTACH_FILTER = 26
"""Linux, <asm-generic/socket.h>; the module socket does not name it."""
_PATIENCE = 5.0
_POLL = 0.002
_ALL = 0xFFFFFFFF

# <linux/bpf_common.h>, by the names that bpf_asm(1) has for them.
_LOAD_BYTE, _LOAD_HALF, _LOAD_LENGTH = 0x30, 0x28, 0x80
_EQUAL, _EQUAL_X, _AT_LEAST, _ABOVE_X = 0x15, 0x1D, 0x35, 0x2D
_SUBTRACT, _TO_X, _RETURN = 0x14, 0x07, 0x06

_SPM, _ODATA, _RDATA, _NAK, _NCF, _SPMR = 0, 4, 5, 8, 10, 12
_UDP, _HEADER, _DATA = 8, 16, 24


class Step(NamedTuple):
    """One instruction: an operation on the accumulator, or a test that jumps."""

    code: int
    k: int = 0
    yes: str = ""
    """Where a test goes that holds; nowhere, to the next step."""
    no: str = ""
    label: str = ""


PROGRAM: Sequence[Step] = (
    Step(_LOAD_LENGTH),
    Step(_AT_LEAST, _UDP + _HEADER, no="drop"),
    Step(_LOAD_BYTE, _UDP + 4),
    Step(_EQUAL, _ODATA, yes="data"),
    Step(_EQUAL, _RDATA, yes="data"),
    Step(_EQUAL, _SPM, yes="pass"),
    Step(_EQUAL, _NAK, yes="pass"),
    Step(_EQUAL, _NCF, yes="pass"),
    Step(_EQUAL, _SPMR, yes="pass", no="drop"),
    Step(_LOAD_BYTE, _UDP + 5, label="data"),
    Step(_EQUAL, 0, no="drop"),
    Step(_LOAD_HALF, _UDP + 14),
    Step(_TO_X),
    Step(_LOAD_LENGTH),
    Step(_SUBTRACT, _UDP + _DATA),
    Step(_EQUAL_X, no="drop"),
    Step(_AT_LEAST, 2, no="drop"),
    Step(_SUBTRACT, 2),
    Step(_TO_X),
    Step(_LOAD_HALF, _UDP + _DATA),
    Step(_EQUAL, 0xFFFF, yes="pass"),
    Step(_ABOVE_X, yes="drop", no="pass"),
    Step(_RETURN, _ALL, label="pass"),
    Step(_RETURN, 0, label="drop"),
)


def assembled(program: Sequence[Step]) -> bytes:
    """Give the instructions as the kernel has them: struct sock_filter, one after the other."""
    places = {step.label: place for place, step in enumerate(program) if step.label}

    def leap(to: str, here: int) -> int:
        return places[to] - here - 1 if to else 0

    return b"".join(
        struct.pack("HBBI", step.code, leap(step.yes, here), leap(step.no, here), step.k)
        for here, step in enumerate(program)
    )


def attach(sock: socket.socket) -> None:
    """Have the kernel drop what is no packet of libzmq's before it reaches the socket."""
    code = assembled(PROGRAM)
    kept = ctypes.create_string_buffer(code, len(code))
    whole = struct.pack("HP", len(PROGRAM), ctypes.addressof(kept))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, whole)


def guard(port: int) -> bool:
    """Wait until libzmq has opened its sockets of this port, and attach; whether there are any.

    It opens them in a thread of its own, some time after it has been told to.
    """
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        found = list(_sockets(port))
        for sock in found:
            with sock:
                attach(sock)
        if found:
            return True
        time.sleep(_POLL)
    return False


def _sockets(port: int) -> Iterator[socket.socket]:
    """Give this process's UDP sockets that are bound to a port, each as one of our own."""
    for opened in Path("/proc/self/fd").iterdir():
        try:
            if not stat.S_ISSOCK(opened.stat().st_mode):
                continue
            sock = socket.socket(fileno=os.dup(int(opened.name)))
        except OSError:
            continue  # closed since
        bound = sock.type == socket.SOCK_DGRAM and sock.family == socket.AF_INET
        if bound and sock.getsockname()[1] == port:
            yield sock
        else:
            sock.close()
