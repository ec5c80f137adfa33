"""What faults of the network mean for each host, and how people write quantities."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.faults import SHAPES, Fault, Link, Partition, Reset, from_json
from lab.catalogue import ROOT
from lab.errors import LabError
from lab.faults import quantities
from lab.faults.orders import orders
from lab.hosts.inventory import Inventory, load


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return load(ROOT / "inventory" / "local")


def address(inventory: Inventory, *names: str) -> list[str]:
    return [str(inventory.hosts[name].address) for name in names]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_host_is_told_whom_not_to_hear(inventory: Inventory, shape: str) -> None:
    partition = Partition(shape, tuple(inventory.hosts))
    given = orders(partition, inventory)
    assert set(given) == set(partition.where())
    for host, order in given.items():
        senders = sorted(a for a, b in partition.cut() if b == host)
        assert order.kind == "block"
        assert sorted(order.parameters["peers"]) == sorted(address(inventory, *senders))
        assert order.parameters["ssh_port"] == inventory.hosts[host].port


@pytest.mark.parametrize("shape", ["majority", "bridge", "ring"])
def test_a_partition_that_cuts_nothing_is_refused(inventory: Inventory, shape: str) -> None:
    with pytest.raises(LabError, match=f"of 2 hosts no {shape} can be made"):
        orders(Partition(shape, ("n1", "n2")), inventory)


def test_a_link_to_nobody_in_particular_is_one_to_all_others(inventory: Inventory) -> None:
    given = orders(Link(("n1", "n2"), delay=0.05), inventory)
    assert list(given) == ["n1", "n2"]
    assert given["n2"].parameters["broadcast"] is True
    assert given["n2"].parameters["to"] == address(inventory, "hub", "n1", "n3", "n4", "n5")
    assert given["n2"].parameters["effects"]["delay"] == 0.05


def test_a_link_to_some_spares_broadcasts(inventory: Inventory) -> None:
    (order,) = orders(Link(("n1",), ("n1", "n3", "n3"), loss=0.2), inventory).values()
    assert order.parameters["broadcast"] is False
    assert order.parameters["to"] == address(inventory, "n3")


def test_a_reset_is_of_all_peers_or_of_some(inventory: Inventory) -> None:
    everybody = orders(Reset("n1"), inventory)["n1"]
    assert everybody.parameters["peers"] == address(inventory, "hub", "n2", "n3", "n4", "n5")
    assert orders(Reset("n1", ("n2",)), inventory)["n1"].parameters["peers"] == address(
        inventory, "n2"
    )


@pytest.mark.parametrize(
    "fault",
    [
        Link(("n77",), delay=0.05),
        Link(("n1",), ("n77",), delay=0.05),
        Link(("n1",), ("n1",), delay=0.05),
        Reset("n77"),
        Reset("n1", ("n1",)),
        Partition("halves", ("n1", "n77")),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(inventory: Inventory, fault: Fault) -> None:
    assert from_json(fault.as_json()) == fault
    with pytest.raises(LabError) as refused:
        orders(fault, inventory)
    assert re.search(r"no host 'n77'|no peer here but itself", str(refused.value))
    assert "\n  -> " in str(refused.value)


@given(st.integers(0, 10**6))
def test_quantities_are_read_in_their_units(number: int) -> None:
    assert quantities.seconds(f"{number}ms") == pytest.approx(number / 1000)
    assert quantities.seconds(f"{number}") == quantities.seconds(f"{number}s") == number
    assert quantities.part(f"{number}%") == pytest.approx(number / 100)
    assert quantities.bits_per_second(f"{number} mbit") == number * 1e6
    assert quantities.bytes_(f"{number}K") == number * 1024


@pytest.mark.parametrize("text", ["", "fast", "-1s", "50 parsecs", "1e3s", "5s5", "%"])
def test_what_is_no_quantity_says_how_to_write_one(text: str) -> None:
    for read in (quantities.seconds, quantities.part, quantities.bits_per_second):
        with pytest.raises(LabError, match="write it as"):
            read(text)
