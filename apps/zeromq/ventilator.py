"""PUSH, the head of a pipeline (zguide chapter 1, "Divide and Conquer").

PUSH deals tasks to the workers that are connected, in turn, and waits while all their queues are
full. The guide has a person press Enter once the workers are there, or else the first to come gets
them all; here the socket's monitor counts the handshakes (chapter 2, zmq_socket_monitor(3)).

PUSH/PULL has no acknowledgement. What was queued for a worker that dies is gone: the high-water
mark, and the kernel's buffers, say how much that may be. So the total is asked of the sink, which
knows how many tasks came through.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import zmq

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.kit.zeromq import Blocking, Bounds, Sockets, blocking, seen
from apps.zeromq.wire import Task

_ROUND = 0.5
"""Seconds that the sink has to answer, before it is asked by a new socket."""
_BETWEEN = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    """What is given out."""

    count: int
    """Tasks of a batch."""
    work: int
    """Milliseconds that each takes."""
    workers: int
    """So many must be connected before the first task."""
    patience: float
    """Seconds without any progress after which it is given up."""


class Ventilator:
    """Gives out batches of tasks, one after the other; a context manager."""

    def __init__(self, listen: Address, sink: Address, events: Events, bounds: Bounds) -> None:
        """Workers find it at `listen`; `sink` is asked for the totals. Rejected if it is taken."""
        self._events = events
        self._sink = sink
        self._sockets: Sockets[Blocking] = blocking(events, bounds)
        self._workers = 0
        try:
            self._tasks = self._sockets.open("tasks", zmq.PUSH, bind=[listen], watched=False)
        except OSError as error:
            self._sockets.close()
            raise Rejected(f"cannot listen: {error}") from None
        self._monitor = self._sockets.monitor(self._tasks)

    def __enter__(self) -> Ventilator:
        return self

    def __exit__(self, *how: object) -> None:
        self._sockets.close()

    def ventilate(self, plan: Plan) -> Mapping[str, Any]:
        """Give out a batch; give what the sink counted. Unknown if not all came through."""
        batch = f"{self._events.node}-{secrets.token_hex(4)}"
        value = {"batch": batch, "count": plan.count}
        with Operation(self._events, "ventilate", value) as operation:
            self._await_workers(plan)
            self._push(batch, plan)
            return operation.ok({"batch": batch, **self._total(batch, plan)})

    def _await_workers(self, plan: Plan) -> None:
        ends = Deadline(plan.patience)
        while self._look() < plan.workers:
            if ends.passed:
                raise Refused(f"{self._workers} of {plan.workers} workers came")
            self._monitor.poll(100)

    def _look(self) -> int:
        """Read the monitor; give how many workers are connected."""
        while self._monitor.poll(0):
            told = seen(self._monitor.recv_multipart())
            self._events.bounded("link", socket="tasks", **told)
            match told["what"]:
                case "handshake_succeeded":
                    self._workers += 1
                case "disconnected":
                    self._workers -= 1
        return self._workers

    def _push(self, batch: str, plan: Plan) -> None:
        for number in range(1, plan.count + 1):
            task = Task(batch, number, plan.count, plan.work)
            if not self._tasks.poll(round(plan.patience * 1000), zmq.POLLOUT):
                raise Unknown(f"{batch}: no worker took task {number} of {plan.count}")
            self._tasks.send(task.encode())
            self._events.send(task.id, "worker")
            if not number % 100:
                self._look()

    def _total(self, batch: str, plan: Plan) -> Mapping[str, Any]:
        """Ask the sink until all has come through, or nothing more does."""
        known, ends = 0, Deadline(plan.patience)
        while True:
            report = self._report(batch)
            if report.get("tasks") == plan.count:
                return report
            if report.get("tasks", 0) > known:
                known, ends = report["tasks"], Deadline(plan.patience)
            if ends.passed:
                raise Unknown(f"{batch}: {known} of {plan.count} tasks came through")
            self._look()
            time.sleep(_BETWEEN)

    def _report(self, batch: str) -> dict[str, Any]:
        """Ask the sink once; nothing if it does not answer."""
        socket = self._sockets.open("totals", zmq.REQ, connect=[self._sink], watched=False)
        try:
            socket.send(batch.encode())
            answered = socket.poll(round(_ROUND * 1000))
            return dict(json.loads(socket.recv_multipart()[0])) if answered else {}
        except ValueError:
            raise Rejected(f"{self._sink}: no answer of a sink of zeromq") from None
        finally:
            self._sockets.drop(socket)


def ventilate(ventilator: Ventilator, events: Events, plan: Plan, seconds: float) -> None:
    """Give out a batch, or batch after batch for so many seconds, and show what came of each."""
    ends = Deadline(seconds)
    done = tasks = 0
    began = time.perf_counter()
    while True:
        try:
            report = ventilator.ventilate(plan)
        except CallFailed as error:
            if not seconds:
                raise
            events.say(f"{type(error).__name__.lower()}: {error}")
        else:
            by = ", ".join(f"{node} {count}" for node, count in report["by"].items())
            events.say(f"{report['tasks']} tasks, total {report['total']}   ({by})")
            done, tasks = done + 1, tasks + report["tasks"]
        if ends.passed:
            break
    rate = tasks / (time.perf_counter() - began)
    events.emit("summary", batches=done, tasks=tasks, rate=round(rate, 1))
    events.say(f"{tasks} tasks in {done} batches, {rate:.0f} a second")
