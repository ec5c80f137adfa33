"""A bag of tasks that workers empty together: worked at least once, counted exactly once.

The problem: a worker that is silent may be dead or merely slow, and nobody can tell which. To wait
for it may be to wait for ever; to hand its task to another may be to have it done twice.

The rule has two halves.

- *Lease*: a task is handed out for a limited time (Gray and Cheriton, "Leases", SOSP 1989,
  section 2). When the time is over, or the worker's connection is gone, the task goes back into the
  bag, first in line (re-execution: Dean and Ghemawat, "MapReduce", OSDI 2004, section 3.3).
- *First result counts*: whoever brings it, and whether or not the lease still runs. What comes
  later is dropped. Tasks are pure functions, so it does not matter whose result that is.

A lease's id names the bag it came from, so a result that outlived a restart of the server is known
as a stranger's. A request has an id of its client's own choosing: to submit it again is to wait for
the same one, and not to have it done twice. The bag is bounded: in tasks, in leases per task (one
that kills its workers fails its request), and in how long it keeps a request nobody waits for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from apps.kit.effects import (
    CancelTimer,
    Effect,
    Effects,
    Emit,
    Message,
    Reject,
    Reply,
    SetTimer,
)


@dataclass(frozen=True, slots=True)
class BagLimits:
    """How patient a bag is (seconds), and how much it holds."""

    lease: float = 3.0
    """How long a worker may take for a task before another gets it too."""
    attempts: int = 5
    """How often a task is leased before its request is given up."""
    keep: float = 60.0
    """How long a request is kept that no client waits for."""
    capacity: int = 10_000
    """The most tasks, of all requests together."""


@dataclass(eq=False, slots=True)
class _Task:
    request: str
    index: int
    number: int
    leased: int = 0
    square: int | None = None


@dataclass(eq=False, slots=True)
class _Request:
    tasks: list[_Task]
    missing: int
    waiting: set[str] = field(default_factory=set)
    """The calls that want the result."""


@dataclass(eq=False, slots=True)
class _Lease:
    task: _Task
    worker: str
    peer: str
    since: float
    running: bool = True


class Bag:
    """The core (see `apps.kit.effects.Core`) of the work-sharing server.

    Requests, by their `f`, each with the `peer` that makes it:

    - `submit` (`request`: its id, `wait`: seconds, `numbers`): answered with `squares`;
    - `take` (`worker`: its name, `wait`): answered with `lease` and `number`;
    - `done` (`lease`, `square`): answered with `counted`, and `why` not;
    - `left`: the peer's connection is gone, its leases end and its calls want no answer.

    A `submit` or `take` for which there is nothing in time is answered with nothing in it. So no
    call waits for ever, and the connection of a client that vanished is found out.
    """

    def __init__(self, name: str, limits: BagLimits | None = None) -> None:
        """`name` must differ from that of every earlier bag of this server."""
        self._name = name
        self._limits = limits or BagLimits()
        self._requests: dict[str, _Request] = {}
        self._free: deque[_Task] = deque()
        self._leases: dict[str, _Lease] = {}
        self._takers: dict[str, tuple[str, str]] = {}  # call -> worker, peer
        self._clients: dict[str, tuple[str, str]] = {}  # call -> request, peer
        self._tasks = 0
        self._leased = 0

    def start(self, now: float) -> Effects:  # noqa: ARG002  an empty bag has nothing to do
        """See `Core.start`."""
        return []

    def receive(self, now: float, sender: str, message: Message) -> Effects:  # noqa: ARG002
        """See `Core.receive`; a bag has clients and no peers."""
        return [Emit("ignored", {"peer": sender, "why": "a bag takes requests alone"})]

    def request(self, now: float, request: str, body: Message) -> Effects:
        """See the class."""
        match body["f"]:
            case "submit":
                return list(self._submit(now, request, body))
            case "take":
                return list(self._take(now, request, body))
            case "done":
                return list(self._done(now, request, body))
            case "left":
                return [*self._left(now, body["peer"]), Reply(request, {})]
            case other:
                return [Reject(request, f"{other!r} is not submit, take, done or left")]

    def timer(self, now: float, name: str) -> Effects:
        """A lease ran out, a call waited long enough, or nobody came for a request."""
        what, _, subject = name.partition(" ")
        match what:
            case "lease":
                return list(self._lost(now, subject, "it ran out"))
            case "wait":
                return list(self._waited(subject))
            case _:
                return list(self._forget(subject))

    def _submit(self, now: float, call: str, body: Message) -> Iterator[Effect]:
        name, numbers = body["request"], body["numbers"]
        request = self._requests.get(name)
        if request is None:
            yield from self._make_room(len(numbers))
            if self._tasks + len(numbers) > self._limits.capacity:
                yield Reject(call, f"the bag is full: it holds {self._tasks} tasks, try later")
                return
            tasks = [_Task(name, index, number) for index, number in enumerate(numbers)]
            request = self._requests[name] = _Request(tasks, missing=len(tasks))
            self._tasks += len(tasks)
            self._free.extend(tasks)
            yield self._event("submitted", request=name, tasks=len(tasks))
        elif [task.number for task in request.tasks] != numbers:
            yield Reject(call, f"request {name} has other numbers: choose another id")
            return
        request.waiting.add(call)
        self._clients[call] = name, body["peer"]
        yield CancelTimer(f"forget {name}")
        yield SetTimer(f"wait {call}", body["wait"])
        yield from self._hand_out(now)
        if not request.missing:
            yield from self._answer(request)

    def _take(self, now: float, call: str, body: Message) -> Iterator[Effect]:
        self._takers[call] = body["worker"], body["peer"]
        yield from self._hand_out(now)
        if call in self._takers and body["wait"] > 0:
            yield SetTimer(f"wait {call}", body["wait"])
        elif call in self._takers:
            yield from self._waited(call)

    def _done(self, now: float, call: str, body: Message) -> Iterator[Effect]:
        lease = self._leases.get(body["lease"])
        if lease is not None and lease.running:
            lease.running = False
            yield CancelTimer(f"lease {body['lease']}")
        if lease is None or lease.task.square is not None:
            why = "this bag knows no such lease" if lease is None else "another result came first"
            worker = "unknown" if lease is None else lease.worker
            yield self._event("dropped", lease=body["lease"], worker=worker, why=why)
            yield Reply(call, {"counted": False, "why": why})
            return
        task, request = lease.task, self._requests[lease.task.request]
        task.square = body["square"]
        request.missing -= 1
        yield self._event(
            "counted",
            request=task.request,
            task=task.index,
            number=str(task.number),
            square=str(task.square),
            lease=body["lease"],
            worker=lease.worker,
            took=round(now - lease.since, 6),
        )
        yield Reply(call, {"counted": True})
        if not request.missing:
            yield self._event("finished", request=task.request, tasks=len(request.tasks))
            yield from self._answer(request)

    def _hand_out(self, now: float) -> Iterator[Effect]:
        """Give the workers that wait the tasks that are free, first come, first served."""
        while self._takers and self._free:
            task = self._free.popleft()
            if task.square is not None:
                continue  # its first worker was slow, not dead
            call, (worker, peer) = next(iter(self._takers.items()))
            del self._takers[call]
            task.leased += 1
            self._leased += 1
            name = f"{self._name}.{self._leased}"
            self._leases[name] = _Lease(task, worker, peer, now)
            yield CancelTimer(f"wait {call}")
            yield SetTimer(f"lease {name}", self._limits.lease)
            yield self._event(
                "leased", request=task.request, task=task.index, lease=name, worker=worker
            )
            yield Reply(call, {"lease": name, "number": task.number})

    def _lost(self, now: float, name: str, why: str) -> Iterator[Effect]:
        """Take a lease back; its task goes to another, if it is not done and may be tried again."""
        lease = self._leases[name]
        task, lease.running = lease.task, False
        if task.square is not None:
            return
        yield self._event(
            "lease_lost",
            request=task.request,
            task=task.index,
            lease=name,
            worker=lease.worker,
            why=why,
        )
        if task.leased < self._limits.attempts:
            self._free.appendleft(task)
            yield from self._hand_out(now)
            return
        why = f"task {task.index} ({task.number}) was leased {task.leased} times and never done"
        yield self._event("gave_up", request=task.request, why=why)
        for call in list(self._requests[task.request].waiting):
            yield from self._stop_waiting(call)
            yield Reject(call, why)
        yield CancelTimer(f"forget {task.request}")
        yield from self._forget(task.request)

    def _waited(self, call: str) -> Iterator[Effect]:
        yield from self._stop_waiting(call)
        yield Reply(call, {})

    def _stop_waiting(self, call: str) -> Iterator[Effect]:
        """Forget a call; the clock of a request that nobody waits for any more begins to run."""
        yield CancelTimer(f"wait {call}")
        self._takers.pop(call, None)
        name, _ = self._clients.pop(call, (None, None))
        if name is not None:
            self._requests[name].waiting.discard(call)
            if not self._requests[name].waiting:
                yield SetTimer(f"forget {name}", self._limits.keep)

    def _left(self, now: float, peer: str) -> Iterator[Effect]:
        calls = {**self._takers, **self._clients}
        for call in [call for call, (_, caller) in calls.items() if caller == peer]:
            yield from self._stop_waiting(call)
        for name, lease in list(self._leases.items()):
            if lease.peer == peer and lease.running and name in self._leases:
                yield CancelTimer(f"lease {name}")
                yield from self._lost(now, name, "its worker's connection is gone")

    def _answer(self, request: _Request) -> Iterator[Effect]:
        squares = [task.square for task in request.tasks]
        for call in list(request.waiting):
            yield from self._stop_waiting(call)
            yield Reply(call, {"squares": squares})

    def _make_room(self, tasks: int) -> Iterator[Effect]:
        """Forget finished requests, the oldest first, while there is no room for more tasks."""
        for name, request in list(self._requests.items()):
            if self._tasks + tasks <= self._limits.capacity:
                return
            if not request.missing:
                yield CancelTimer(f"forget {name}")
                yield from self._forget(name)

    def _forget(self, name: str) -> Iterator[Effect]:
        request = self._requests.pop(name)
        self._tasks -= len(request.tasks)
        if request.missing:
            self._free = deque(task for task in self._free if task.request != name)
        for lease in [n for n, lease in self._leases.items() if lease.task.request == name]:
            if self._leases.pop(lease).running:
                yield CancelTimer(f"lease {lease}")

    def _event(self, event: str, **fields: object) -> Emit:
        return Emit(event, {"bag": self._name, **fields})
