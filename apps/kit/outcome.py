"""What a client knows when a call did not succeed: the same three words in every pattern.

"Not applied" is not "unknown": a caller may safely repeat a refused call, must not repeat a
rejected one unchanged, and may repeat an unknown one only where the operation is idempotent.
"""

from __future__ import annotations

from typing import ClassVar


class CallFailed(Exception):
    """A call did not succeed. `exit_status` is what a client's command ends with."""

    exit_status: ClassVar[int]
    event: ClassVar[str]


class Refused(CallFailed):
    """The call never reached the service (no connection, no name): definitely not applied."""

    exit_status = 3
    event = "fail"


class Rejected(CallFailed):
    """The service answered no, or the request cannot be sent, and why: definitely not applied."""

    exit_status = 4
    event = "fail"


class Unknown(CallFailed):
    """The call was sent and no answer came: it may or may not have been applied."""

    exit_status = 5
    event = "unknown"
