"""Packets on their way out to some hosts are late, lost, damaged, held back.

`to`: the hosts' addresses; `broadcast`: whether packets to all suffer as well; `effects`: see
`ways.Effects`.
"""

from __future__ import annotations

from typing import Any

from lab.faults.onhost import judge, network, probes, records, standing
from lab.faults.onhost.records import Record, Trouble
from lab.faults.onhost.ways import Effects, together

_ATTEMPTS = 3
"""How often it is measured before it is refused: a busy host may spoil one measurement."""


def begin(record: Record) -> None:
    """Have the packets of this host fare as all records say."""
    record.kept["engine"] = network.choose(record)
    record.save()
    network.apply()


def check(record: Record) -> dict[str, Any]:
    """Measure what befalls packets to one of the peers."""
    # All that is on record acts on the probes: an older fault on the same way, too.
    links = network.links(records.load())
    engine = network.engine_of(links)
    figures: dict[str, Any] = {"engine": engine}
    route = probes.reachable(record.parameters["to"])
    if route is None:
        return {**figures, "measured": "nothing: no peer is there"}
    (effects,) = [
        way.effects for way in network.ways_out(links)[route.device] if route.peer in way.to
    ]
    # What the link itself does to packets comes on top.
    effects = together([effects, standing.effects().get(route.device, Effects())])
    judgement = judge.Judgement(effects)
    for attempt in range(_ATTEMPTS):
        judgement = judge.Judgement(effects, attempt)
        salvo, burst = judge.salvo(effects, attempt), judge.burst(effects, attempt)
        if salvo is not None:
            judgement.probes(salvo, probes.fire(route, salvo))
        if burst is not None:
            judgement.burst(burst, probes.fire(route, burst))
        if not judgement.complaints:
            return {**figures, **judgement.figures}
    raise Trouble(
        f"the link's fault did not take, to {route.peer} by {route.device} with {engine}: "
        f"{'; '.join(judgement.complaints)}"
    )


def end(record: Record) -> None:
    """Have them fare as the records say that are left."""
    network.apply()
    if not network.links(records.load()):
        network.clear()
