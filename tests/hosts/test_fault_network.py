"""Faults of the network on the lab: they take, they are measured, they leave.

What is injected is seen by other means than the fault tools' own: ping, nc, ss, ssh.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from apps.kit.faults import Link, Partition, Reset
from lab.errors import LabError
from lab.faults.control import Faults
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from tests.conftest import eventually
from tests.hosts.conftest import ALIEN
from tests.hosts.fault_traces import answers, left


def hears(remote: Remote, sender: str, hearer: str, address: str) -> bool:
    """Whether a datagram of one host reaches the other, whatever becomes of an answer."""
    listening = remote.start(hearer, "timeout 2 nc -u -l -W 1 9977", 10)
    eventually(lambda: ":9977 " in remote.must(hearer, "ss -Hlun"), f"{hearer} listens")
    remote.must(sender, f"for n in 1 2 3; do echo knock | nc -u -q 0 -w 1 {address} 9977; done")
    return "knock" in listening.wait().stdout


# Links


def test_a_delay_is_what_ping_measures_and_healing_restores(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other = hosts[:2]
    before = statistics.median(answers(remote, one, to(other), 100))
    with faults.inject(Link((one,), (other,), delay=0.05), 60) as injected:
        assert injected.measured[one]["delay"] == pytest.approx(0.05, rel=0.1)
        grown = statistics.median(answers(remote, one, to(other), 100)) - before
        assert grown == pytest.approx(50, rel=0.1)
    after = answers(remote, one, to(other), 100)
    assert len(after) == 100
    assert statistics.median(after) < before + 5
    assert left(remote, one) == ""


def test_a_loss_is_what_ping_measures_and_healing_restores(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other = hosts[:2]
    with faults.inject(Link((one,), (other,), loss=0.2), 60):
        lost = 1 - len(answers(remote, one, to(other), 1000)) / 1000
        assert lost == pytest.approx(0.2, abs=0.05)
    assert len(answers(remote, one, to(other), 300)) == 300


@pytest.mark.parametrize(
    "effects",
    [
        {"delay": 0.03, "jitter": 0.01},
        {"duplicate": 0.3},
        {"delay": 0.02, "reorder": 0.25},
        {"corrupt": 0.2},
        {"rate": 1e6},
        {"delay": 0.01, "loss": 0.1, "duplicate": 0.1, "corrupt": 0.1, "rate": 1e7},
    ],
    ids=str,
)
def test_each_effect_takes_and_is_measured(
    faults: Faults, hosts: tuple[str, ...], effects: dict[str, float]
) -> None:
    with faults.inject(Link(hosts[:1], hosts[1:2], **effects), 60) as injected:
        assert set(effects) <= set(injected.measured[hosts[0]])


def test_faults_of_one_way_add_up_and_leave_one_by_one(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other, third = hosts[:3]

    def took(host: str) -> float:
        return statistics.median(answers(remote, one, to(host), 50))

    with faults.inject(Link((one,), delay=0.02), 60):
        with faults.inject(Link((one,), (other,), delay=0.03), 60):
            assert took(other) == pytest.approx(50, rel=0.15)
            assert took(third) == pytest.approx(20, rel=0.25)
        assert took(other) == pytest.approx(20, rel=0.25)


def test_the_same_fault_twice_is_two(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other = hosts[:2]
    first = faults.inject(Partition("isolate", (one, other)), 60)
    second = faults.inject(Partition("isolate", (one, other)), 60)
    assert {fault.id for fault in faults.active()} == {first.id, second.id}
    first.heal()
    assert answers(remote, one, to(other), 5) == []
    second.heal()
    assert len(answers(remote, one, to(other), 5)) == 5
    second.heal()


def test_what_is_on_its_way_survives_another_fault(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other, third = hosts[:3]
    with faults.inject(Link((one,), (other,), delay=1.5), 60):
        pings = remote.start(one, f"sudo -n ping -c 200 -i 0.005 -W 4 -q {to(other)}", 20)
        with faults.inject(Link((one,), (third,), delay=0.01), 60):
            assert " 200 received" in pings.wait().stdout


def test_a_link_takes_on_a_host_without_udev(
    faults: Faults, remote: Remote, hosts: tuple[str, ...]
) -> None:
    remote.must(hosts[0], "sudo -n chmod 0600 /dev/net/tun")
    with faults.inject(Link(hosts[:1], hosts[1:2], delay=0.03), 60) as injected:
        assert injected.measured[hosts[0]]["delay"] == pytest.approx(0.03, rel=0.1)


def test_a_dead_emulator_is_started_again(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other = hosts[:2]
    with faults.inject(Link((one,), (other,), delay=0.03), 60) as injected:
        if injected.measured[one]["engine"] != "emulator":
            pytest.skip("this kernel has sch_netem, which has no process to kill")
        remote.must(one, "sudo -n systemctl kill --signal=KILL distlab-emulator")
        eventually(
            lambda: statistics.median(answers(remote, one, to(other), 10) or [0]) > 27, "delayed"
        )


def test_a_fault_that_does_not_take_is_refused_and_leaves_nothing(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], alien: str
) -> None:
    with pytest.raises(LabError, match=r"did not take.*delay: wanted 0\.05 s, measured 0\.0"):
        faults.inject(Link(hosts[:1], hosts[1:2], delay=0.05), 60)
    assert left(remote, hosts[0]) == ""
    assert faults.active() == []
    assert remote.must(hosts[0], f"sudo -n nft list table netdev {ALIEN}") == alien


def test_one_host_that_cannot_spares_the_others(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], alien: str
) -> None:
    assert alien
    with pytest.raises(LabError, match=f"on {hosts[0]}: the link's fault did not take"):
        faults.inject(Link(hosts[:3], loss=0.5), 60)
    assert [left(remote, host) for host in hosts[:3]] == ["", "", ""]


# Partitions


def test_halves_hear_themselves_and_not_each_other(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    partition = Partition("halves", hosts)
    first, *_, last = hosts
    with faults.inject(partition, 60) as injected:
        assert set(injected.measured) == set(hosts)
        assert answers(remote, first, to(last), 5) == []
        assert answers(remote, last, to(first), 5) == []
        assert len(answers(remote, last, to(hosts[-2]), 5)) == 5
    assert len(answers(remote, first, to(last), 5)) == 5


@pytest.mark.parametrize("shape", ["mute", "deaf"])
def test_a_one_way_partition_is_one_way(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str], shape: str
) -> None:
    one, other = hosts[:2]
    with faults.inject(Partition(shape, hosts), 60):
        assert hears(remote, one, other, to(other)) is (shape == "deaf")
        assert hears(remote, other, one, to(one)) is (shape == "mute")


def test_a_link_and_a_partition_act_at_once(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other, third = hosts[:3]
    with (
        faults.inject(Partition("isolate", (one, third)), 60),
        faults.inject(Link((one,), delay=0.03), 60),
    ):
        assert answers(remote, one, to(third), 5) == []
        assert statistics.median(answers(remote, one, to(other), 50)) > 27


def test_ssh_survives_isolation_and_the_loss_of_everything(
    faults: Faults, inventory: Inventory, hosts: tuple[str, ...]
) -> None:
    with (
        faults.inject(Partition("isolate", hosts), 60),
        faults.inject(Link(hosts, loss=1.0), 60),
        Remote(inventory) as another,
    ):
        for host in hosts:
            assert another.must(host, "head -c 200000 /dev/zero | wc -c").strip() == "200000"


# Connections


def test_a_reset_ends_connections_and_spares_ssh(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other = hosts[:2]
    connected = f"ss -Htn state established dst {to(other)} dport = :9978"
    listening = remote.start(other, "timeout 30 nc -l 9978", 40)
    eventually(lambda: ":9978 " in remote.must(other, "ss -Hltn"), "listening")
    client = remote.start(one, f"sleep 30 | nc {to(other)} 9978", 40)
    eventually(lambda: remote.must(one, connected) != "", "connected")
    assert faults.inject(Reset(one, (other,)), 60).measured[one]["connections"] >= 1
    assert remote.must(one, connected) == ""
    listening.wait()  # it was told
    remote.run(one, "true")
    client.stop()
