"""The process that answers: gunicorn's threaded worker, which says the truth about itself.

READY and the watchdog's food come from a thread of the pool that answers requests having got
through, never from the main loop alone: a pool that hangs starves the watchdog, however well the
main loop turns, and systemd restarts the unit.

A request has a time to arrive in, and its answer a time to be taken: gunicorn's own worker waits
for a slow peer for ever (github.com/benoitc/gunicorn/issues/2652), so that as many peers as there
are threads, each with half a request, would stop it.
"""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.workers.gthread import TConn

from apps.kit.address import Address
from apps.kit.lifecycle import notify, watchdog_interval
from apps.kit.wsgi_orderly import OrderlyWorker

_PROBE_INTERVAL = 1.0
"""Seconds; gunicorn's main loop, where probes begin, turns no quicker when nothing happens."""
_ERRORS = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ParseException: HTTPStatus.BAD_REQUEST,
}
"""What is wrong with bytes that are no request; the first that fits counts."""


@dataclass(slots=True)
class _Visit:
    """A connection that the pool is at: since when, whether a request was read, is it too late."""

    since: float
    understood: bool = False
    overdue: bool = False


class Worker(OrderlyWorker):
    """A worker whose patience ends, with a watchdog fed by what it watches."""

    def init_process(self) -> None:
        """Set up what the main loop keeps, and run it. All but `handle…` runs in its thread."""
        self._visits: dict[TConn, _Visit] = {}
        self._probed = self._fed = float("-inf")
        self._ready = False
        super().init_process()

    def notify(self) -> None:
        """Take the main loop's turn: gunicorn calls this every second at least."""
        super().notify()
        now = time.monotonic()
        self._end_patience(now)
        if now - self._probed >= _PROBE_INTERVAL:
            self._probed = now
            probe = self.tpool.submit(self.app.probe)
            probe.add_done_callback(lambda done: self.method_queue.defer(self._got_through, done))

    def _got_through(self, probe: Future[int]) -> None:
        error = probe.exception()
        if error is None:
            self._feed()
        else:
            self.app.events.emit("error", error=repr(error))

    def _feed(self) -> None:
        """Tell the service manager that the pool works; the first time, that it is ready."""
        now = time.monotonic()
        if not self._ready:
            self._ready = True
            self.app.events.emit("ready", pid=os.getpid())
            notify("READY=1")
        if now - self._fed >= (watchdog_interval() or 0.0):
            self._fed = now
            notify("WATCHDOG=1")

    def enqueue_req(self, conn: TConn) -> None:
        """Hand a connection to the pool; its patience begins."""
        self._visits[conn] = _Visit(time.monotonic())
        super().enqueue_req(conn)

    def finish_request(self, conn: TConn, future: Future[Any]) -> None:
        """Take a connection back from the pool."""
        self._visits.pop(conn, None)
        if self._ready:
            self._feed()
        super().finish_request(conn, future)

    def _end_patience(self, now: float) -> None:
        """Free the threads that wait for slow peers.

        First no more is read, so that a request which ends here can still be answered; a second
        later no more is written either.
        """
        for conn, visit in self._visits.items():
            late = now - visit.since - self.app.settings.patience
            if late > 0:
                visit.overdue = True
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD if late < 1 else socket.SHUT_RDWR)

    def handle(self, conn: TConn) -> Any:
        """Serve a connection, in a thread of the pool."""
        result = super().handle(conn)
        visit = self._visits[conn]
        if visit.overdue and not visit.understood:
            what = f"no whole request came within {self.app.settings.patience:g} s: send it at once"
            self._complain(conn.sock, conn.client, HTTPStatus.REQUEST_TIMEOUT, what)
        return result

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request, in a thread of the pool."""
        self._visits[conn].understood = True
        return super().handle_request(req, conn)

    def handle_error(
        self, _req: object, client: socket.socket, addr: tuple[str, int], exc: Exception
    ) -> None:
        """Answer what is no request."""
        for kind, status in _ERRORS.items():
            if isinstance(exc, kind):
                self._complain(client, addr, status, f"this is no HTTP/1.1 request: {exc}")
                return
        self.log.error("a request failed", exc_info=exc)
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        self._complain(client, addr, status, "the server failed; the outcome is unknown")

    def _complain(
        self, client: socket.socket, addr: tuple[str, int], status: HTTPStatus, detail: str
    ) -> None:
        self.app.events.bounded("peer_error", peer=str(Address(*addr[:2])), error=detail)
        complaint = self.app.complain(status, detail)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: {complaint.media_type}\r\n"
            f"Content-Length: {len(complaint.body)}\r\n\r\n"
        )
        with suppress(OSError):
            client.sendall(head.encode() + complaint.body)
