"""Topologies drawn, written, read, judged; their addresses, routes and paths. No host is needed."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.catalogue import ROOT
from lab.errors import LabError
from lab.evidence import stored
from lab.evidence.report.page import render
from lab.hosts.inventory import EMBEDDED_RANGE, load
from lab.topology import files, inventory, links, mininet, picture, place, told, validate
from lab.topology.addresses import Plan
from lab.topology.generate import Wanted, generate
from lab.topology.model import HOST, ROUTER, SWITCH, Quality, Topology
from lab.topology.paths import Paths
from lab.topology.wiring import wiring
from tests.stored_runs import stored_run

TWO_LANS = """\
name: two
subnet: 198.18.64.0/24
hosts: [h1, h2, h3]
switches: [s1, s2]
routers: [r1, r2]
defaults: {delay: 10ms}
links:
  - {between: [s1, h1]}
  - {between: [s1, h2], delay: 5ms, jitter: 1ms, loss: 10%, bandwidth: 1mbit}
  - {between: [s1, r1]}
  - {between: [r1, r2], loss: 10%, bandwidth: 512kbit}
  - {between: [r2, s2]}
  - {between: [s2, h3]}
"""

wanted = st.builds(
    Wanted,
    networks=st.integers(1, 3),
    lans=st.integers(1, 3),
    routers=st.integers(1, 3),
    depth=st.integers(1, 2),
    fanout=st.integers(1, 3),
    publishers=st.integers(0, 3),
    subscribers=st.integers(0, 3),
    quality=st.builds(
        Quality,
        delay=st.sampled_from([0.0, 0.01]),
        jitter=st.sampled_from([0.0, 0.002]),
        loss=st.sampled_from([0.0, 0.001]),
        bandwidth=st.sampled_from([0.0, 1e6, 1.5e9]),
    ).filter(lambda quality: quality.jitter <= quality.delay),
    spread=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)

few = settings(max_examples=25)
"""Each draws a whole topology; these tests are to be over in seconds."""


def read(text: str) -> Topology:
    """Read a topology that has to be right."""
    topology, source = files.parse(text, "two.yml")
    validate.check(topology, source)
    return topology


# What is drawn


@few
@given(wanted)
def test_what_is_drawn_is_right_and_the_same_for_a_seed(wanted: Wanted) -> None:
    topology = generate(wanted)
    validate.check(topology)
    assert generate(wanted) == topology
    assert read(files.dump(topology, "a comment\nof two lines")) == topology


@few
@given(wanted)
def test_addresses_are_disjoint_and_within(wanted: Wanted) -> None:
    plan = Plan(generate(wanted))
    networks = [plan.management, *plan.networks.values()]
    assert all(not a.overlaps(b) for a, b in itertools.combinations(networks, 2))
    assert all(network.subnet_of(plan.topology.subnet) for network in networks)
    taken = [*plan.managed.values(), plan.controller]
    for devices in plan.interfaces.values():
        taken += [at.address for at in devices if at.address]
        assert all(at.address in plan.networks[at.lan.name] for at in devices if at.address)
    assert len(set(taken)) == len(taken)
    outer = {a for network in networks for a in (network[0], network[-1])}
    assert not outer.intersection(taken)


@few
@given(wanted)
def test_routes_lead_from_every_host_to_every_other(wanted: Wanted) -> None:
    """A packet is passed on by the routes alone, and it arrives by the way that is told."""
    plan = Plan(generate(wanted))
    hosts = plan.topology.hosts[:6]
    routers = {
        at.address: node for node in plan.topology.of(ROUTER) for at in plan.interfaces[node]
    }
    for a, b in itertools.permutations(hosts, 2):
        to, here, passed = plan.address(b), a, []
        while not any(to in plan.networks[at.lan.name] for at in plan.interfaces[here]):
            (via,) = [route.via for route in plan.routes(here) if to in route.to]
            assert via in {
                address
                for at in plan.interfaces[here]
                for address in plan.networks[at.lan.name].hosts()
            }
            here = routers[via]
            assert here not in passed
            passed.append(here)
        way = plan.paths.path(a, b).nodes
        assert passed == [node for node in way if plan.topology.nodes[node] == ROUTER]


@few
@given(wanted)
def test_all_of_it_can_be_shown(wanted: Wanted) -> None:
    plan = Plan(generate(wanted))
    assert picture.draw(plan).count('class="host"') == len(plan.topology.hosts)
    compile(mininet.script(plan), "exported.py", "exec")
    assert len(told.as_json(plan)["links"]) == len(plan.topology.links) == len(told.links(plan))
    assert told.nodes(plan)
    assert told.networks(plan)
    assert told.paths(plan) or len(plan.topology.hosts) == 1


@few
@given(wanted)
def test_every_component_gets_a_host(wanted: Wanted) -> None:
    topology = generate(wanted)
    placed = place.place(topology)
    assert placed.keys() == place.read(place.TEMPLATE).keys()
    for pattern, stanza in placed.items():
        for group, child in stanza["children"].items():
            assert child["hosts"]
            assert set(child["hosts"]) <= set(topology.hosts)
            if (
                topology.publishers
                and group.endswith("_publisher")
                and pattern not in place.ONE_LAN
            ):
                assert set(child["hosts"]) <= set(topology.publishers)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Wanted(routers=0), "without routers"),
        (Wanted(fanout=0), "at least 1"),
        (Wanted(publishers=-1), "at least 0"),
        (Wanted(depth=9, fanout=9), "the most"),
        (Wanted(spread=1.0), "spread"),
        (Wanted(name="much-too-long"), "name"),
        (Wanted(subnet=IPv4Network("10.0.0.0/16")), "outside"),
        (Wanted(subnet=IPv4Network("198.18.0.0/28")), "make it a /"),
    ],
)
def test_nonsense_is_not_drawn(wrong: Wanted, why: str) -> None:
    with pytest.raises(LabError, match=why):
        generate(wrong)


# What links come to


def test_links_of_a_path_add_up() -> None:
    plan = Plan(read(TWO_LANS))
    path = plan.paths.path("h2", "h3")
    assert path.nodes == ("h2", "s1", "r1", "r2", "s2", "h3")
    assert path.quality.delay == pytest.approx(0.045)
    assert path.quality.jitter == pytest.approx(0.001)
    assert path.quality.loss == pytest.approx(0.19)
    assert path.quality.bandwidth == 512e3
    assert plan.paths.path("h1", "h2").nodes == ("h1", "s1", "h2")


def test_of_two_ways_the_quicker_is_taken() -> None:
    text = TWO_LANS.replace("routers: [r1, r2]", "routers: [r1, r2, r3]").replace(
        "between: [r1, r2],", "between: [r1, r2], delay: 100ms,"
    )
    text += "  - {between: [r1, r3], delay: 1ms}\n  - {between: [r3, r2], delay: 1ms}\n"
    assert Plan(read(text)).paths.path("h1", "h3").nodes == (
        *("h1", "s1", "r1", "r3", "r2", "s2", "h3"),
    )


def test_each_end_of_a_link_emulates_it_once() -> None:
    plan = Plan(read(TWO_LANS))
    assert links.effects(plan, "h2") == {
        "lan0": {"delay": 0.005, "jitter": 0.001, "loss": 0.1, "rate": 1e6}
    }
    assert links.effects(plan, "s1").keys() == {"port0", "port1", "port2"}
    ends = sum(len(links.effects(plan, node)) for node in plan.topology.nodes)
    assert ends == 2 * len(plan.topology.links)


def test_each_cable_has_two_ends() -> None:
    wired = wiring(Plan(read(TWO_LANS)))
    assert wired["r1"].forwards
    assert not wired["h1"].forwards
    assert wired["s1"].reached == ""
    cables = sorted(cable for machine in wired.values() for cable in machine.cables)
    assert cables == [f"{number}{end}" for number in range(6) for end in "ab"]
    assert "link set vg-two.0b name lan0\n" in wired["h1"].network
    assert "route add" in wired["h1"].network
    assert "route add" not in wired["s1"].network


# What becomes of it


def test_its_inventory_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "ROOT", tmp_path)
    topology = read(TWO_LANS)
    made = load(inventory.write(topology, Path("two.yml")))
    assert made.lab == "two"
    assert list(made.hosts) == topology.hosts
    assert set(made.network) == {*topology.of(SWITCH, ROUTER)}
    assert made.topology is not None
    assert validate.load(made.topology) == topology
    assert made.dialled("h1") == str(Plan(topology).managed["h1"]) != str(made.hosts["h1"].address)
    assert made.groups["tcp_echo_server"][0] in topology.hosts


def test_a_component_runs_where_the_file_says() -> None:
    said = "publishers: [h1]\nsubscribers: [h2, h3]\nplacement: {tcp_echo_server: [h2]}\n"
    placed = place.place(read(TWO_LANS + said))
    assert list(placed["tcp_echo"]["children"]["tcp_echo_server"]["hosts"]) == ["h2"]
    assert list(placed["mqtt"]["children"]["mqtt_subscriber"]["hosts"]) == ["h2", "h3"]
    one_lan = placed["zmq_multicast"]["children"].values()
    assert {host for child in one_lan for host in child["hosts"]} <= {"h1", "h2"}
    publishers, subscribers, _ = (set(child["hosts"]) for child in one_lan)
    assert publishers
    assert subscribers
    assert not publishers & subscribers


def test_where_there_is_room_nobody_shares_the_port_of_a_multicast_group() -> None:
    topology = validate.load(ROOT / "topologies" / "campus.yml")
    children = place.place(topology)["zmq_multicast"]["children"].values()
    placed = [host for child in children for host in child["hosts"]]
    assert len(placed) == len(set(placed))
    (lan,) = {lan.name for host in placed for lan in Paths(topology).lans_of[host]}
    assert lan == "hall"


@pytest.mark.parametrize("file", sorted((ROOT / "topologies").glob("*.yml")), ids=lambda f: f.stem)
def test_what_is_given_as_an_example_is_right(file: Path) -> None:
    topology = validate.load(file)
    assert topology.subnet.subnet_of(EMBEDDED_RANGE)
    assert topology.of(HOST)


def test_the_tree_was_drawn_as_its_first_lines_say() -> None:
    drawn = Wanted(
        *(1, 1, 0, 2, 2, 1, 2),
        quality=Quality(delay=0.01, bandwidth=10e6),
        seed=7,
        name="tree",
        subnet=IPv4Network("198.18.64.0/22"),
    )
    assert validate.load(ROOT / "topologies" / "tree.yml") == generate(drawn)


# What is wrong


def changed(old: str, new: str) -> str:
    assert old in TWO_LANS
    return TWO_LANS.replace(old, new)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("name: [", 1, "no YAML"),
        ("[]", 1, "no mapping"),
        ("name: two\nhosts: [h1]\n", 1, "no `links`"),
        (changed("name: two", "name: much-too-long"), 1, "no topology's name"),
        (changed("hosts: [h1, h2, h3]", "hosts: [h1, h2, h2]"), 3, "names h2 twice"),
        (changed("[s1, s2]", "[s1, h2]"), 4, "two nodes called h2; the other is in line 3"),
        (changed("hosts: [h1", "hosts: [H_1"), 3, "no node's name"),
        (changed("hosts:", "guests:"), 3, "what is `guests`"),
        (changed("links:\n", "links:\n  - {between: [s1, h1], lag: 3}\n"), 8, "what is `lag`"),
        (TWO_LANS + "name: three\n", 14, "`name` is here twice; first in line 1"),
        (changed("198.18.64.0/24", "10.0.0.0/24"), 2, "outside 198.18.0.0/15"),
        (changed("198.18.64.0/24", "198.18.64.0/28"), 2, "make it a /2"),
        (changed("198.18.64.0/24", "198.18.64.7/24"), 2, "is no network"),
        (changed("delay: 5ms", "delay: 5"), 9, "5 has no unit"),
        (changed("delay: 5ms", "delay: 5mbit"), 9, "no.* a time"),
        (changed("bandwidth: 1mbit", "bandwidth: 1ms"), 9, "not a rate"),
        (changed("loss: 10%, bandwidth: 1mbit", "loss: 100%"), 9, "loses everything"),
        (changed("jitter: 1ms", "jitter: 6ms"), 9, "before it is sent"),
        (changed("[s2, h3]", "[s2, h9]"), 13, "no node h9"),
        (changed("[s2, h3]", "[s2, h3, h1]"), 13, "between two nodes, not 3"),
        (changed("[s2, h3]", "[s1, h1]"), 13, "host h1 has 2 links"),
        (changed("  - {between: [s2, h3]}\n", ""), 3, "host h3 has no link"),
        (changed("{between: [r2, s2]}", "{between: [s2, s2x]}"), 12, "no node s2x"),
        (TWO_LANS + "  - {between: [s1, r1]}\n", 14, "closes a cycle in the LAN of s1"),
        (TWO_LANS + "placement: {tcp_eco_server: [h1]}\n", 14, "no component tcp_eco_server"),
        (TWO_LANS + "placement:\n  tcp_echo_server: [h7]\n", 15, "no host h7"),
        (TWO_LANS + "placement:\n  tcp_echo_server: [r1]\n", 15, "r1 is a router"),
        (TWO_LANS + "publishers: [s1]\n", 14, "s1 is a switch"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, why: str) -> None:
    with pytest.raises(LabError, match=why) as caught:
        read(text)
    assert caught.value.what.startswith(f"two.yml:{line}: ")


def test_parts_without_a_link_between_them_are_refused() -> None:
    text = TWO_LANS.replace("  - {between: [r1, r2], loss: 10%, bandwidth: 512kbit}\n", "")
    with pytest.raises(LabError, match=r"two\.yml:3: no links lead from h1 to host h3"):
        read(text)


def test_switches_in_a_ring_are_refused_and_routers_are_not() -> None:
    ring = "  - {between: [s1, s2]}\n  - {between: [s2, s3]}\n  - {between: [s3, s1]}\n"
    text = "name: ring\nhosts: [h1]\nswitches: [s1, s2, s3]\nlinks:\n  - {between: [h1, s1]}\n"
    with pytest.raises(LabError, match=r"two\.yml:8: link s3-s1 closes a cycle"):
        read(text + ring)
    routed = text.replace("switches: [s1, s2, s3]", "routers: [s1, s2, s3]")
    assert len(Plan(read(routed + ring)).networks) == 4


def test_more_hosts_than_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = tmp_path / "meminfo"
    little.write_text("MemTotal: 900000 kB\nMemAvailable: 300000 kB\n")
    monkeypatch.setattr(validate, "_MEMORY", little)
    topology = read(TWO_LANS)
    with pytest.raises(LabError, match=r"3 hosts and 4 switches and routers .* 292 left"):
        validate.check_memory(topology)
    validate.check_memory(topology, running=topology.hosts)


def test_a_run_tells_its_links(tmp_path: Path) -> None:
    links = told.links_as_json(read(TWO_LANS).links)
    said = {"name": "two", "links": [*links, {"between": 3}, "none"]}
    run = stored.read(stored_run(tmp_path, "20261121T120000Z-demos", topology=said))
    assert run.links[1] == ("s1 to h2", "5ms ±1ms, 10% lost, 1mbit")
    assert len(run.links) == 6
    assert "5ms ±1ms, 10% lost, 1mbit" in render(run)
    plain = stored.read(stored_run(tmp_path, "20261121T120001Z-demos"))
    assert plain.links == ()
    assert "links of the topology" not in render(plain)
