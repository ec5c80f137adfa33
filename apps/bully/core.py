"""One node of the bully election.

The problem: some nodes need one of them to lead, and the one that leads may die. Who is alive must
agree on another, without anybody who is surely there to ask.

The rule (H. Garcia-Molina, "Elections in a Distributed Computing System", IEEE Transactions on
Computers C-31(1), 1982; the algorithm is in its appendix I): the highest live node leads. Who
misses the coordinator asks all higher nodes whether they are there. If one is, it will take over.
If none is, the node bullies: it halts all lower ones, tells those that answered who coordinates,
and when all of them have accepted it, lets them go on. The calls are the paper's:

    are_you_there     asked of all higher nodes first; of the coordinator by who misses it (Timeout)
    halt              leave whatever group you are in; you take part in this election now
    new_coordinator   it is I
    ready             all have accepted: the group is whole, go on
    are_you_normal    the coordinator asks everyone, again and again (Check); who is not, or follows
                      somebody else, or came back from the dead, is the reason for an election

The paper's assumptions, on which its proof rests: all nodes run this program (1, 2) and no message
comes from nowhere (3); a node has storage that a crash leaves whole (4), and it fails by halting
(5); messages arrive unaltered (6) and in order (7); every message arrives within a fixed time T
(8); and a node never pauses, it answers at once (9). With T known, silence is proof of death: at
any instant, all nodes that are normal have one coordinator (the paper's Assertion 1), and if no
more nodes fail there soon is one (Assertion 2). `Timing.answer` is 2T here.

Assumptions 8 and 9 are what a real network breaks: it parts, it is late, a node is paused. Then
silence proves nothing, and **two nodes may coordinate at once, each of its side**. That is a limit
of the algorithm; the paper's answer is another one (section IV, invitation). What this program adds
keeps the harm within bounds:

Epochs: every election has a number, higher than all that its node knows of, and durable before
anyone hears of it. With the rank of the node it is an epoch, unlike every other. Who is halted
for an epoch has left all earlier ones for good: it refuses an earlier coordinator's orders, however
late they come, even if that one believes to lead still. (The paper's section IV numbers its groups
for the same reason.)

Repetition: assumption 8 says that no message is lost. A datagram may be, so who does not answer is
asked three times within the time for an answer, and questions may come twice.

Clients ask:

    {"f": "who"}                   who leads, in which epoch, as far as this node knows
    {"f": "order", "text": "go"}   have the coordinator order all nodes to do something

A pattern that is composed of this one asks the object itself: `leads`, `leader`, `epoch`, `admits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from apps.bully.messages import BadMessage, Epoch, Word, word
from apps.kit.effects import (
    CancelTimer,
    Effect,
    Emit,
    Message,
    Persist,
    Reject,
    Reply,
    Send,
    SetTimer,
)

REPEATS = 3
"""How often who does not answer is asked, within the time for an answer."""
LONGEST_ORDER = 1000
"""Characters of an order's text."""

Phase: TypeAlias = Literal[
    "asking", "yielding", "halting", "halted", "reorganizing", "joined", "normal", "doubting"
]
STATUS: Mapping[Phase, str] = {
    "asking": "election",  # whether a higher node is there
    "yielding": "election",  # one is, and will take over
    "halting": "election",  # none is: the lower ones are called off
    "halted": "election",  # by a higher node
    "reorganizing": "reorganization",  # as coordinator, until all have accepted
    "joined": "reorganization",  # accepted, until all have
    "normal": "normal",
    "doubting": "normal",  # the coordinator was not heard of: is it there?
}
"""What the paper's S(i).s is in each phase."""
TIMERS = ("again", "wait", "check", "silence")


@dataclass(frozen=True)
class Timing:
    """Seconds; the shorter, the sooner who died is replaced, and who is only late as well."""

    answer: float = 0.4
    """Within which a live node's answer is here: the paper's 2T."""
    check: float = 0.3
    """Between two questions of the coordinator whether all is normal."""
    silence: float = 1.2
    """Without a word of the coordinator, after which it is asked whether it is there."""

    @property
    def patience(self) -> float:
        """Within which a higher node that took over is through with it, or has failed."""
        return 4 * self.answer


class Bully:
    """The core of one node; see `apps.kit.effects.Core`."""

    def __init__(
        self,
        node: str,
        nodes: Sequence[str],
        stored: Mapping[str, Any],
        timing: Timing | None = None,
    ) -> None:
        """`nodes` are all of them, itself too, the lowest first: everywhere in the same order."""
        self.node = node
        self.leader: str | None = None
        number, rank = stored.get("epoch", (0, 0))
        self.epoch: Epoch = (number, rank)
        """The latest election that this node takes part in."""
        self._nodes = tuple(nodes)
        self._rank = self._nodes.index(node)
        self._timing = timing or Timing()
        self._phase: Phase = "asking"
        self._highest = number  # of all elections that were heard of
        self._question: Message = {}
        self._awaited: list[str] = []
        self._answered: list[str] = []
        self._times = 0
        self._orders = 0
        self._effects: list[Effect] = []
        self._functions: dict[object, Callable[[str, Message], None]] = {
            "who": self._who,
            "order": self._order,
        }
        self._heard: dict[str, Callable[[str, Word], None]] = {
            "are_you_there": self._on_are_you_there,
            "here": self._on_here,
            "halt": self._on_halt,
            "halted": self._on_answer,
            "new_coordinator": self._on_new_coordinator,
            "accepted": self._on_answer,
            "ready": self._on_ready,
            "are_you_normal": self._on_are_you_normal,
            "normal": lambda _peer, _word: None,
            "not_normal": self._on_not_normal,
            "stale": self._on_not_normal,
            "order": self._on_order,
        }

    @property
    def status(self) -> str:
        """The paper's S(i).s: normal, election or reorganization."""
        return STATUS[self._phase]

    @property
    def leads(self) -> bool:
        """Whether this node believes to coordinate a group that is whole."""
        return self.leader == self.node and self.status == "normal"

    def admits(self, epoch: Epoch) -> bool:
        """Whether what is done in the name of this epoch is to be taken: of no earlier one."""
        return epoch == self.epoch

    # What the shell calls

    def start(self, now: float) -> list[Effect]:
        """Come back (the paper's Recovery): whatever was, an election finds out what is."""
        del now
        self._elect("recovery")
        return self._finish()

    def receive(self, now: float, sender: str, message: Message) -> list[Effect]:
        """Take a message of a peer."""
        del now
        try:
            said = word(message)
            if sender not in self._nodes:
                raise BadMessage(f"{sender} is no node of this election")
        except BadMessage as error:
            self._do(Emit("malformed", {"peer": sender, "error": str(error)}))
            return self._finish()
        self._highest = max(self._highest, said.epoch[0], said.own[0])
        self._heard[said.kind](sender, said)
        return self._finish()

    def request(self, now: float, request: str, body: Message) -> list[Effect]:
        """Take a client's request, see the module."""
        del now
        try:
            f = body.get("f")
            if not isinstance(f, str) or f not in self._functions:
                raise BadMessage(f"f must be one of {', '.join(map(str, self._functions))}")
            self._functions[f](request, body)
        except BadMessage as error:
            self._do(Reject(request, str(error)))
        return self._finish()

    def timer(self, now: float, name: str) -> list[Effect]:
        """Take note that time has passed."""
        del now
        if name == "again":
            self._ask_again()
        elif name == "wait":
            self._elect("who took over did not finish")
        elif name == "check":
            self._check()
        elif name == "silence":
            self._doubt()
        return self._finish()

    # The election: the paper's Election(i), from its first step to its last

    def _elect(self, why: str) -> None:
        """Step 1: ask all higher nodes whether they are there."""
        self.leader = None
        self._tell("election", why=why)
        higher = self._nodes[self._rank + 1 :]
        self._ask("asking", higher, self._word("are_you_there", electing=True))

    def _bully(self) -> None:
        """Step 2: none is, so call the lower ones off whatever they do."""
        self.epoch = (max(self.epoch[0], self._highest) + 1, self._rank)
        self._do(Persist("epoch", list(self.epoch)))
        self._tell("halt")
        self._ask("halting", self._nodes[: self._rank], self._word("halt"))

    def _reorganize(self) -> None:
        """Step 3: tell those that were halted who coordinates."""
        self.leader = self.node
        self._ask("reorganizing", self._answered, self._word("new_coordinator"))

    def _lead(self) -> None:
        """Step 4: all have accepted; let them go on."""
        self._orders = 0
        self._tell("lead", members=[*self._answered, self.node])
        for member in self._answered:
            self._do(Send(member, self._word("ready")))
        self._enter("normal", "check", self._timing.check)

    def _ask(self, phase: Phase, whom: Iterable[str], question: Message) -> None:
        """Ask them all, and wait for their answers: `_settled` goes on when that is over."""
        self._awaited, self._answered = list(whom), []
        self._question, self._times = question, REPEATS
        self._enter(phase, "again", self._timing.answer / REPEATS)
        self._do(*(Send(peer, question) for peer in self._awaited))
        if not self._awaited:
            self._settled()

    def _ask_again(self) -> None:
        self._times -= 1
        if self._times <= 0:
            self._settled()
            return
        self._do(SetTimer("again", self._timing.answer / REPEATS))
        self._do(*(Send(peer, self._question) for peer in self._awaited))

    def _settled(self) -> None:
        """All that were asked have answered, or those that have not are taken for dead."""
        silent = ", ".join(self._awaited)
        match self._phase:
            case "asking":
                self._bully()
            case "halting":
                self._reorganize()
            case "reorganizing" if silent:
                self._elect(f"{silent} did not accept")
            case "reorganizing":
                self._lead()
            case "doubting":
                self._elect(f"{silent} does not answer")

    def _on_answer(self, peer: str, said: Word) -> None:
        """Take the answer to a halt, or to the news of who coordinates."""
        wanted = {"halting": "halted", "reorganizing": "accepted"}.get(self._phase)
        if said.kind == wanted and said.epoch == self.epoch and peer in self._awaited:
            self._awaited.remove(peer)
            self._answered.append(peer)
            if not self._awaited:
                self._settled()

    # What a node is asked

    def _on_are_you_there(self, peer: str, said: Word) -> None:
        """Answer; and if a lower node holds an election, take it over."""
        self._do(Send(peer, self._word("here")))
        if said.electing and self.status == "normal":
            self._elect(f"{peer} holds an election")

    def _on_here(self, peer: str, _: Word) -> None:
        if self._phase == "asking" and peer in self._awaited:
            self._enter("yielding", "wait", self._timing.patience)
        elif self._phase == "doubting" and peer == self.leader:
            self._enter("normal", "silence", self._timing.silence)

    def _on_halt(self, peer: str, said: Word) -> None:
        """Leave every earlier group for good: the epoch is durable before the answer goes out."""
        if said.epoch < self.epoch or said.epoch[1] != self._nodes.index(peer):
            self._refuse(peer, said)
        elif said.epoch > self.epoch:
            self.epoch, self.leader = said.epoch, None
            self._do(Persist("epoch", list(self.epoch)))
            self._tell("halted", by=peer)
            self._enter("halted", "wait", self._timing.patience)
            self._do(Send(peer, self._word("halted")))
        elif self._phase == "halted":
            self._do(Send(peer, self._word("halted")))

    def _on_new_coordinator(self, peer: str, said: Word) -> None:
        if said.epoch < self.epoch:
            self._refuse(peer, said)
        elif said.epoch == self.epoch and self._phase in ("halted", "joined"):
            self.leader = peer
            self._enter("joined", "wait", self._timing.patience)
            self._do(Send(peer, self._word("accepted")))

    def _on_ready(self, peer: str, said: Word) -> None:
        if said.epoch == self.epoch and self._phase == "joined":
            self._tell("follow", leader=peer)
            self._enter("normal", "silence", self._timing.silence)

    # Normal life: the paper's Check and Timeout

    def _check(self) -> None:
        self._do(SetTimer("check", self._timing.check))
        for peer in self._nodes:
            if peer != self.node:
                self._do(Send(peer, self._word("are_you_normal")))

    def _on_are_you_normal(self, peer: str, said: Word) -> None:
        self._on_ready(peer, said)  # only a group that is whole is checked; its `ready` was lost
        if said.epoch == self.epoch and self.leader == peer and self.status == "normal":
            self._enter("normal", "silence", self._timing.silence)
            self._do(Send(peer, self._word("normal")))
        elif said.epoch != self.epoch or self._phase != "joined":
            self._do(Send(peer, {**self._word("not_normal"), "epoch": list(said.epoch)}))

    def _on_not_normal(self, peer: str, said: Word) -> None:
        """Somebody is not of the group, or knows a later election: hold another one."""
        if said.epoch == self.epoch and (self.leads or self._phase in ("halting", "reorganizing")):
            why = "knows a later epoch" if said.own > self.epoch else "is not of this group"
            self._elect(f"{peer} {why}")

    def _doubt(self) -> None:
        """Ask the coordinator, who was not heard of for so long, whether it is there."""
        if self.leader is not None:
            self._ask("doubting", [self.leader], self._word("are_you_there"))

    # Orders

    def _order(self, request: str, body: Message) -> None:
        text = body.get("text")
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_ORDER:
            raise BadMessage(f"text must be a string of 1 to {LONGEST_ORDER} characters")
        if not self.leads:
            who = f"{self.leader} does" if self.leader else "an election is under way"
            raise BadMessage(f"{self.node} does not lead: {who}")
        self._orders += 1
        order = {"number": self._orders, "text": text}
        self._tell("order", **order)
        for peer in self._nodes:
            if peer != self.node:
                self._do(Send(peer, {**self._word("order"), **order}))
        self._do(Reply(request, {"epoch": list(self.epoch), "number": self._orders}))

    def _on_order(self, peer: str, said: Word) -> None:
        if said.epoch == self.epoch and self.leader == peer and self.status == "normal":
            self._tell("obey", number=said.number, text=said.text[:LONGEST_ORDER])
        else:
            self._refuse(peer, said)

    def _refuse(self, peer: str, said: Word) -> None:
        """Refuse what is not of this node's epoch, and let the sender know."""
        self._tell("refuse", kind=said.kind, of=list(said.epoch), by=peer)
        self._do(Send(peer, {**self._word("stale"), "epoch": list(said.epoch)}))

    def _who(self, request: str, _: Message) -> None:
        told = {"node": self.node, "status": self.status, "leader": self.leader}
        self._do(Reply(request, {**told, "epoch": list(self.epoch), "nodes": list(self._nodes)}))

    # Effects

    def _word(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"kind": kind, "epoch": list(self.epoch), "own": list(self.epoch), **fields}

    def _enter(self, phase: Phase, timer: str, after: float) -> None:
        """Be in a phase, which has one timer."""
        self._phase = phase
        self._do(*(CancelTimer(name) for name in TIMERS if name != timer), SetTimer(timer, after))

    def _tell(self, event: str, **fields: Any) -> None:
        self._do(Emit(event, {"epoch": list(self.epoch), **fields}))

    def _do(self, *effects: Effect) -> None:
        self._effects += effects

    def _finish(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
