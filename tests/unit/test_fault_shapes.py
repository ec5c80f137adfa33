"""The shapes of partitions, at any size: what Jepsen's grudges of the same names keep apart."""

from __future__ import annotations

import itertools

import pytest

from apps.kit.faults import SHAPES, Partition

SIZES = range(2, 51)
SYMMETRIC = ("isolate", "halves", "majority", "bridge", "ring")


def hosts(size: int) -> tuple[str, ...]:
    return tuple(f"n{number}" for number in range(size))


def seen(partition: Partition) -> dict[str, frozenset[str]]:
    """Whom each host hears and is heard by, itself included."""
    cut = partition.cut()
    return {
        host: frozenset(
            other for other in partition.hosts if not {(host, other), (other, host)} & cut
        )
        for host in partition.hosts
    }


def groups(partition: Partition) -> list[frozenset[str]]:
    """The hosts that reach each other, over others too."""
    near, left, found = seen(partition), set(partition.hosts), []
    while left:
        group: frozenset[str] = frozenset([min(left)])
        while (more := frozenset(itertools.chain(*(near[host] for host in group)))) != group:
            group = more
        found.append(group)
        left -= group
    return sorted(found, key=len)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_every_shape_cuts_ways_between_different_hosts_of_its_own(shape: str, size: int) -> None:
    partition = Partition(shape, hosts(size))
    cut = partition.cut()
    assert all(a != b and {a, b} <= set(partition.hosts) for a, b in cut)
    assert set(partition.where()) == {to for _, to in cut}
    assert bool(cut) == (size > 2 or shape not in {"majority", "bridge", "ring"})
    if shape in SYMMETRIC:
        assert cut == {(b, a) for a, b in cut}


@pytest.mark.parametrize("size", SIZES)
def test_isolate_leaves_the_first_alone(size: int) -> None:
    one, *rest = groups(Partition("isolate", hosts(size)))
    assert one == {"n0"}
    assert [len(group) for group in rest] == [size - 1]


@pytest.mark.parametrize("size", SIZES)
def test_halves_are_two_of_equal_size_or_nearly(size: int) -> None:
    sizes = [len(group) for group in groups(Partition("halves", hosts(size)))]
    assert sizes == [size // 2, size - size // 2]


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_majority_is_the_smallest_there_is(size: int) -> None:
    minority, majority = groups(Partition("majority", hosts(size)))
    assert len(majority) == size // 2 + 1
    assert len(minority) == size - len(majority)


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_bridge_is_the_only_way_between_two_halves(size: int) -> None:
    partition = Partition("bridge", hosts(size))
    near = seen(partition)
    assert near["n0"] == set(partition.hosts)
    sides = {near[host] - {"n0"} for host in partition.hosts[1:]}
    assert len(sides) == 2
    assert sum(map(len, sides)) == size - 1
    assert abs(len(min(sides, key=len)) - len(max(sides, key=len))) <= 1


@pytest.mark.parametrize("size", SIZES[1:])
def test_on_a_ring_each_sees_a_majority_and_no_two_the_same(size: int) -> None:
    near = seen(Partition("ring", hosts(size)))
    assert all(len(view) > size // 2 for view in near.values())
    assert len(set(near.values())) == size


@pytest.mark.parametrize("size", SIZES)
def test_mute_and_deaf_are_one_way(size: int) -> None:
    others = hosts(size)[1:]
    assert Partition("mute", hosts(size)).cut() == {("n0", other) for other in others}
    assert Partition("deaf", hosts(size)).cut() == {(other, "n0") for other in others}
