"""Faults of links on machines whose own kernel has netem: it is what the fault tools take."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from apps.kit.faults import Link
from lab.faults.control import Faults
from lab.hosts.remote import Remote
from tests.hosts.fault_traces import answers

SHOW = "sudo -n tc qdisc show"


def test_a_delay_is_the_kernels_own(
    faults: Faults, remote: Remote, hosts: tuple[str, ...], to: Callable[[str], str]
) -> None:
    one, other = hosts[:2]
    before = statistics.median(answers(remote, one, to(other), 50))
    with faults.inject(Link((one,), (other,), delay=0.1), 60) as injected:
        assert injected.measured[one]["engine"] == "netem"
        assert "delay 100ms" in remote.must(one, SHOW)
        grown = statistics.median(answers(remote, one, to(other), 50)) - before
        assert grown == pytest.approx(100, rel=0.1)
    assert "netem" not in remote.must(one, SHOW)


@pytest.mark.parametrize(
    "effects",
    [
        {"delay": 0.05, "jitter": 0.01},
        {"loss": 0.2},
        {"delay": 0.05, "reorder": 0.25},
        {"corrupt": 0.2},
        {"rate": 1e6},
    ],
    ids=str,
)
def test_netem_does_each_effect(
    faults: Faults, hosts: tuple[str, ...], effects: dict[str, float]
) -> None:
    with faults.inject(Link(hosts[:1], hosts[1:2], **effects), 60) as injected:
        assert injected.measured[hosts[0]]["engine"] == "netem"
        assert set(effects) <= set(injected.measured[hosts[0]])
