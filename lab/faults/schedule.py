"""Schedules: what befalls whom, when, and for how long.

A schedule is a small YAML file:

    seed: 7                 # of the random ones
    for: 20s                # how long the workload goes on; if not given, until all could recover
    faults:
      - {at: 2s, for: 5s, fault: partition, shape: halves, hosts: all}
      - {at: 9s, fault: kill, host: n1, component: tcp_echo_server}
      - {at: 12s, for: 3s, fault: random, among: [pause, loss]}

Times count from when the workload is under way: its clients were heard. What else an entry has are
the fields of its fault (`apps.kit.faults`), with quantities as people write them. A list of hosts
may name hosts and groups of the inventory, or be `all`; one host may be a group of one. Faults may
overlap.

A random one is drawn when the schedule is read, from the seed and its place in the list, so what
was read says all; `dump` writes that, and `load` reads it as it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from apps.kit.faults import KINDS, BadFault, Fault, from_json
from lab.errors import LabError
from lab.faults import nemesis, quantities
from lab.faults.aims import NAMES, Aims, chosen
from lab.faults.orders import component_of
from lab.faults.planned import Planned, Schedule
from lab.hosts.inventory import Inventory

RANDOM = "random"
ALL = "all"
MOST = 1e12
"""No quantity is greater."""
_TIMES = ("at", "for")
_READ: Mapping[str, Callable[[str], float]] = {
    "at": quantities.seconds,
    "for": quantities.seconds,
    "delay": quantities.seconds,
    "jitter": quantities.seconds,
    "offset": quantities.seconds,
    "drift": quantities.part,
    "loss": quantities.part,
    "duplicate": quantities.part,
    "reorder": quantities.part,
    "corrupt": quantities.part,
    "rate": quantities.bits_per_second,
    "free": quantities.bytes_,
}
_SIGNED = ("offset", "drift")
_SECONDS = ("at", "for", "delay", "jitter", "offset")


def read(path: Path, inventory: Inventory, aims: Aims | None = None) -> Schedule:
    """Read a schedule's file; see `load`."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(
            f"the schedule {path} cannot be read: {error}",
            "docs/faults.md shows how one is written",
        ) from error
    return load(text, str(path), inventory, aims)


def load(text: str, name: str, inventory: Inventory, aims: Aims | None = None) -> Schedule:
    """Read a schedule; LabError says which entry is wrong, how, and what to do.

    `name` stands for it in errors. Random entries need to know what they can aim at.
    """
    content = _parse(text, name)
    entries = content.get("faults")
    if not isinstance(entries, list):
        raise LabError(
            f"{name}: `faults` is no list",
            "write one: faults: [{at: 2s, for: 5s, fault: partition, shape: halves, hosts: all}]",
        )
    seed = content.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise LabError(f"{name}: the seed is no whole number: {seed!r}", "write it as: seed: 7")
    planned: list[Planned] = []
    for number, entry in enumerate(entries, 1):
        try:
            rng = random.Random(f"{seed}/{number}")
            planned.append(_entry(entry, inventory, aims, rng))
        except (LabError, BadFault) as error:
            what, fix = (error.what, error.fix) if isinstance(error, LabError) else (str(error), "")
            word = entry.get("fault") if isinstance(entry, dict) else None
            told = f"entry {number} ({word})" if isinstance(word, str) else f"entry {number}"
            raise LabError(f"{name}: {told}: {what}", fix) from error
    last = max((plan.end for plan in planned), default=0.0)
    seconds = _quantity("for", content["for"]) if "for" in content else last + nemesis.RECOVERY
    if seconds < last:
        raise LabError(
            f"{name}: the workload ends after {seconds:g} s, and the faults only after {last:g} s",
            "let it go on for longer: for: …",
        )
    return Schedule(seed, seconds, tuple(sorted(planned, key=lambda plan: plan.at)))


def dump(schedule: Schedule) -> str:
    """Write a schedule so that `load` reads the same."""
    entries = [_told(plan) for plan in schedule.planned]
    lines = [
        yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10**6).strip()
        for entry in entries
    ]
    head = f"seed: {schedule.seed}\nfor: {_plain(schedule.seconds)}s\n"
    if not lines:
        return f"{head}faults: []\n"
    return head + "faults:\n" + "".join(f"  - {line}\n" for line in lines)


def _parse(text: str, name: str) -> dict[str, Any]:
    example = "docs/faults.md shows how one is written"
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise LabError(f"{name} is no YAML: {error}", example) from error
    if not isinstance(content, dict):
        raise LabError(f"{name} is no schedule: it has no `faults`", example)
    for key in content:
        if key not in {"seed", "for", "faults"}:
            raise LabError(f"{name}: what is {key!r}?", "a schedule has seed, for, and faults")
    return content


def _entry(entry: Any, inventory: Inventory, aims: Aims | None, rng: random.Random) -> Planned:
    if not isinstance(entry, dict):
        raise LabError(
            f"it is no mapping: {entry!r}",
            "write it as: {at: 9s, fault: kill, host: n1, component: tcp_echo_server}",
        )
    # `on` is true to YAML, and a field of ours.
    given = {"on" if key is True else str(key): value for key, value in entry.items()}
    if "at" not in given:
        raise LabError("it does not say when", "add `at: 2s`, from the begin of the workload")
    at = _quantity("at", given["at"])
    if given.get("fault") == RANDOM:
        return _random(given, at, aims, rng)
    fault = _fault({k: v for k, v in given.items() if k not in _TIMES}, inventory)
    if fault.lasts and "for" not in given:
        raise LabError("it does not say for how long", "add `for: 5s`")
    if not fault.lasts and "for" in given:
        raise LabError(f"a {fault.word} is over at once", "take its `for` away")
    seconds = _quantity("for", given["for"]) if fault.lasts else 0.0
    if fault.lasts and not seconds:
        raise LabError("it lasts for no time", "let it last: `for: 5s`")
    return Planned(at, seconds, fault)


def _random(given: Mapping[str, Any], at: float, aims: Aims | None, rng: random.Random) -> Planned:
    for key in given:
        if key not in {"at", "for", "fault", "among"}:
            raise LabError(f"a random fault has no {key!r}", "it has at, for, and among")
    if aims is None:
        raise LabError("nothing says what it could aim at", "play it with a pattern's workload")
    among = given.get("among", list(NAMES))
    if not isinstance(among, list) or not among:
        raise LabError(f"`among` is no list of faults: {among!r}", "write: among: [kill, loss]")
    if "for" not in given:
        raise LabError("it does not say for how long", "add `for: 5s`")
    names = chosen(",".join(map(str, among)))
    fault = nemesis.draw_one(rng, aims, names)
    seconds = _quantity("for", given["for"])
    return Planned(at, seconds if fault.lasts else 0.0, fault)


def _fault(given: dict[str, Any], inventory: Inventory) -> Fault:
    kind = KINDS.get(str(given.get("fault")))
    types = {item.name: str(item.type) for item in fields(kind)} if kind else {}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in _READ:
            values[name] = _quantity(name, value)
        elif types.get(name) == "tuple[str, ...]":
            values[name] = _hosts(value, inventory)
        elif name == "host":
            values[name] = _host(value, inventory)
        else:
            values[name] = value
    fault = from_json(values)
    component = values.get("component")
    if component is not None:
        component_of(component)
        where = inventory.groups.get(component, ())
        if values["host"] not in where:
            raise LabError(
                f"{component} is not placed on {values['host']}",
                f"it is on: {', '.join(where) or 'no host'}",
            )
    return fault


def _quantity(name: str, value: Any) -> float:
    """Read a quantity, as text with a unit or as a bare number; a clock's may be below zero."""
    if isinstance(value, str):
        read = _READ[name]
        return quantities.signed(read, value) if name in _SIGNED else read(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LabError(f"{name} is no quantity: {value!r}", "write it as 20s, 50ms, 20%, 1mbit")
    lowest = -MOST if name in _SIGNED else 0
    if not lowest <= value <= MOST:
        raise LabError(f"{name} cannot be {value}", "write it as 20s, 50ms, 20%, 1mbit")
    return value


def _host(value: Any, inventory: Inventory) -> str:
    if not isinstance(value, str):
        raise LabError(f"no host's name: {value!r}", f"choose from: {', '.join(inventory.hosts)}")
    found = _hosts(value, inventory)
    if len(found) != 1:
        raise LabError(
            f"{value} is {len(found)} hosts, and one is meant", f"choose one: {', '.join(found)}"
        )
    return found[0]


def _hosts(value: Any, inventory: Inventory) -> list[str]:
    """Give the hosts that names of hosts and groups stand for, each once, in order."""
    names: Sequence[Any] = value if isinstance(value, list) else [value]
    found: dict[str, None] = {}
    for name in names:
        if name == ALL:
            found |= dict.fromkeys(inventory.hosts)
        elif name in inventory.hosts:
            found[name] = None
        elif isinstance(name, str) and inventory.groups.get(name):
            found |= dict.fromkeys(inventory.groups[name])
        else:
            raise LabError(
                f"there is no host or group {name!r} in {inventory.path}",
                f"choose from: {', '.join(inventory.hosts)}, a group of the placement, or all",
            )
    return list(found)


def _told(plan: Planned) -> dict[str, Any]:
    times = {"at": plan.at, **({"for": plan.seconds} if plan.fault.lasts else {})}
    values = times | {k: v for k, v in plan.fault.as_json().items() if _says(v)}
    return {
        name: f"{_plain(value)}s" if name in _SECONDS else value for name, value in values.items()
    }


def _says(value: Any) -> bool:
    """Tell whether a field's value says more than its default does."""
    return bool(value)


def _plain(number: float) -> str:
    """Give a number exactly, without an exponent, and as a whole one if it is."""
    text = format(Decimal(repr(float(number))), "f")
    return text.removesuffix(".0")
