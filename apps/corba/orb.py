"""The ORB as this pattern uses it: its options, the id of each call, and what a failure means.

Every request carries its id in a service context of GIOP, put there and read by interceptors, where
the ORB sends and receives: the interface knows nothing of it, and what both sides saw can be joined
afterwards. A peer that sends none (nameclt, catior) is served just the same.

A failure carries CORBA's own answer to the question what became of the call, its completion status:
NO, MAYBE or YES.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import omniORB
from omniORB import CORBA, interceptors

from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown

CONTEXT = 0x444C4142
"""Our service context's number, "DLAB"; its content is a string."""
_ID = re.compile(r"[A-Za-z0-9._:#>/-]{1,200}")
_COMMON: Mapping[str, object] = {
    "giopMaxMsgSize": 1 << 18,  # bytes; a batch of the most and longest entries fits
    "nativeCharCodeSet": "UTF-8",
    "validateUTF8": 1,
    "verifyObjectExistsAndType": 0,  # a question before the first call of each reference
    "scanGranularity": 1,
    "outConScanPeriod": 3,  # before the other end closes what is idle
    "maxGIOPConnectionPerServer": 64,  # a caller of a crowd need not wait for another's answer
    "maxInterleavedCallsPerConnection": 1,
    "oneCallPerConnection": 1,
}
_DECLINED = (
    CORBA.BAD_PARAM,
    CORBA.MARSHAL,
    CORBA.BAD_OPERATION,
    CORBA.NO_IMPLEMENT,
    CORBA.NO_PERMISSION,
    CORBA.DATA_CONVERSION,
    CORBA.INV_OBJREF,
    CORBA.IMP_LIMIT,
)
"""What says, if nothing was done, that asking again would not help."""


class Trace:
    """Records requests and answers where the ORB sends and receives them."""

    def __init__(self, events: Events) -> None:
        """Made before the ORB, once in a process."""
        self._events = events
        self._here = threading.local()
        interceptors.addClientSendRequest(self._asks)
        interceptors.addClientReceiveReply(self._is_answered)
        interceptors.addServerReceiveRequest(self._is_asked)
        interceptors.addServerSendReply(self._answers)
        interceptors.addServerSendException(self._answers)

    @contextmanager
    def calling(self, message: str, operation: str, peer: str) -> Iterator[None]:
        """Give the call of an operation that this thread makes an id."""
        self._here.calling = (message, operation, peer)
        try:
            yield
        finally:
            self._here.calling = None

    @property
    def served(self) -> str:
        """The id of the request that this thread serves; empty if it came without one."""
        return getattr(self._here, "served", "")

    def _asks(self, operation: str, contexts: list[tuple[int, bytes]]) -> None:
        message, expected, peer = getattr(self._here, "calling", None) or ("", "", "")
        if operation == expected:  # the ORB has questions of its own
            contexts.append((CONTEXT, omniORB.cdrMarshal(CORBA.TC_string, message)))
            self._events.send(message, peer, operation=operation)

    def _is_answered(self, operation: str, _: object) -> None:
        message, expected, peer = getattr(self._here, "calling", None) or ("", "", "")
        if operation == expected:
            self._events.recv(f"{message}/answer", peer, operation=operation)

    def _is_asked(self, operation: str, contexts: Sequence[tuple[int, bytes]]) -> None:
        self._here.served = message = _message(contexts)
        if message:
            self._events.recv(message, _sender(message), operation=operation)

    def _answers(self, operation: str, _: object, exception: str = "") -> None:
        message = self.served
        if message:
            told = {"exception": exception} if exception else {}
            self._events.send(f"{message}/answer", _sender(message), operation=operation, **told)


def _message(contexts: Sequence[tuple[int, bytes]]) -> str:
    """Give the id among the service contexts; a peer may have sent anything."""
    for number, content in contexts:
        if number == CONTEXT:
            try:
                message = str(omniORB.cdrUnmarshal(CORBA.TC_string, content))
            except CORBA.SystemException:
                return ""
            return message if _ID.fullmatch(message) else ""
    return ""


def _sender(message: str) -> str:
    """Give the node that made an id up: `n2-5f0c:7#1` is of n2."""
    return message.partition(":")[0].rpartition("-")[0]


def start(options: Mapping[str, object]) -> Any:
    """Give this process' ORB; the options are omniORB's, without their `-ORB`.

    OSError if it cannot listen where it is to.
    """
    given = [
        text
        for name, value in {**_COMMON, **options}.items()
        for text in (f"-ORB{name}", str(value))
    ]
    try:
        return CORBA.ORB_init(["distlab", *given], CORBA.ORB_ID)
    except CORBA.SystemException as error:
        raise OSError(f"the ORB cannot begin: {said(error)}") from error


def said(error: Any) -> str:
    """Give what the ORB says of a failure: its name, its reason, whether the call was done."""
    reason = omniORB.minorCodeToString(error) or "no reason given"
    return f"{type(error).__name__}, {reason}, {error.completed}"


def failure(error: Any) -> CallFailed:
    """Give what a client knows after a system exception: CORBA's completion status says it."""
    if error.completed == CORBA.COMPLETED_NO:
        return Rejected(said(error)) if isinstance(error, _DECLINED) else Refused(said(error))
    if error.completed == CORBA.COMPLETED_YES:
        return Unknown(f"{said(error)}: it was done, and with what result is not known")
    return Unknown(f"{said(error)}: it may have been done")
