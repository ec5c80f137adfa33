"""What the page of a run is made of: causes, spells of faults, columns, and one script."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from lab.evidence.report.bundle import STATIC, bundle
from lab.evidence.report.columns import LONGEST, pack, shown
from lab.evidence.report.spells import spells
from lab.evidence.report.timeline import Timeline, in_time

HOSTS = {"hub": "198.18.0.10", "n1": "198.18.0.11", "n10": "198.18.0.20"}


def event(name: str, t: float, node: str = "n1", component: str = "client", **fields: Any) -> Any:
    return {"event": name, "pattern": "p", "component": component, "node": node, "t": t, **fields}


def lab(name: str, t: float, **fields: Any) -> Any:
    return event(name, t, "lab", "lab", **fields)


def unpacked(timeline: Timeline) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(pack("p", timeline, []))))


def test_every_arrival_follows_the_one_sending() -> None:
    timeline = Timeline(
        [
            event("say", 1, id="m"),
            event("recv", 2, "hub", "server", id="m"),
            event("duplicated", 3, "hub", "server", id="m"),
            event("recv", 4, "hub", "server", id="never sent"),
            event("submitted", 5, "hub", "server", id=["no", "name"]),
        ],
        HOSTS,
    )
    lanes = [(lane.node, lane.component) for lane in timeline.lanes]
    assert lanes == [("hub", "server"), ("n1", "client")]
    assert timeline.cause == [-1, 0, 0, -1, -1]
    assert timeline.lost == {}


def test_an_outcome_follows_its_invocation_alone() -> None:
    timeline = Timeline([event("invoke", 1, op=1), event("ok", 2, op=1), event("ok", 3, op=2)], {})
    assert timeline.cause == [-1, 0, -1]


def test_a_lost_message_was_meant_for_whom_its_peer_usually_is() -> None:
    timeline = Timeline(
        [
            event("send", 1, id="1", peer="somewhere:1"),
            event("recv", 2, "hub", "server", id="1"),
            event("send", 3, id="2", peer="somewhere:1"),
            event("send", 4, id="3", peer="198.18.0.10:8080"),
            event("send", 5, id="4", peer="hub"),
            event("send", 6, id="5", peer="nobody"),
        ],
        HOSTS,
    )
    assert timeline.lost == {2: 0, 3: 0, 4: 0, 5: -1}


@pytest.mark.parametrize(
    ("node", "host"), [("n1", "n1"), ("n1-slow", "n1"), ("n10-slow", "n10"), ("n100", "n100")]
)
def test_a_node_may_name_itself_after_its_host(node: str, host: str) -> None:
    assert Timeline([event("ready", 1, node)], HOSTS).lanes[0].host == host


def test_what_has_no_time_is_left_out() -> None:
    odd = [float("nan"), float("inf"), -1, 10**400, 1e300, True]
    assert [e["t"] for e in in_time([event("e", t) for t in [2, *odd, 1.5]])] == [True, 1.5, 2]


def test_a_fault_lasts_until_it_is_healed_or_heals_itself() -> None:
    cut = {"fault": "partition", "shape": "halves", "hosts": ["hub", "n1"]}
    kill = {"fault": "kill", "host": "n1", "component": "p_client"}
    found = spells(
        [
            lab("inject", 1, id="f1", fault=cut, hosts=["hub", "n1"], seconds=60),
            lab("inject", 2, id="f2", fault=kill, hosts=["n1"], seconds=60),
            lab("inject", 3, id="f3", fault=cut, hosts=["hub", "n1"], seconds=4),
            lab("inject", 4, id="f4", fault={"fault": "of a later version"}, hosts=["hub"]),
            event("lab_stop", 5, "n1", "client"),
            lab("heal", 6, id="f1"),
            lab("heal", 6, id="never injected"),
            event("lab_restart", 7, "n1", "client"),
            event("lab_restart", 8, "n1", "client"),
        ],
        end=10,
    )
    assert [(s.kind, s.since, s.until, s.ended) for s in found] == [
        ("partition", 1, 6, "healed"),
        ("kill", 2, None, ""),
        ("partition", 3, 7, "by its own timer"),
        ("of a later version", 4, 10, "not before the end"),
        ("stop", 5, 7, "restarted"),
        ("restart", 8, None, ""),
    ]


def test_a_component_s_fault_hits_its_lane_alone() -> None:
    timeline = Timeline([event("a", 1), event("b", 2, component="server")], HOSTS)
    kill = {"fault": "kill", "host": "n1", "component": "p_server"}
    power = {"fault": "power_off", "host": "n1"}
    found = spells(
        [lab("inject", t, id=t, fault=f, hosts=["n1"]) for t, f in ((1, kill), (2, power))], 3
    )
    assert [spell.lanes(timeline.lanes, "p") for spell in found] == [[1], [0, 1]]


def test_what_an_arrival_shares_with_its_sending_is_stored_once() -> None:
    sent = event("send", 1, id="m", bytes=5)
    packed = unpacked(Timeline([sent, event("recv", 2.5, "hub", id="m", bytes=5, from_="n1")], {}))
    assert packed["t"] == [0, 1_500_000]
    assert packed["cause"] == [0, 1]
    assert packed["shapes"] == [["=id", "=bytes"], ["^id", "^bytes", "=from_"]]
    assert packed["columns"] == [[["m"], ["5"]], [["n1"]]]


def test_values_are_shown_as_they_are_and_no_longer_than_anyone_reads() -> None:
    assert shown("text") == "text"
    assert shown({"a": [1, None]}) == '{"a": [1, null]}'
    assert shown("x" * (LONGEST + 7)).endswith("x… (7 characters more)")


def test_the_page_s_script_has_every_module_once_and_no_import() -> None:
    script = bundle("page.js")
    names = {path.name for path in STATIC.glob("*.js")} - {"page.js"}
    assert all(script.count(f'modules["{name}"] = (') == 1 for name in names)
    assert not [line for line in script.splitlines() if line.startswith(("import ", "export "))]
