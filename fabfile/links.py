"""Faults of the network: `fab fault.link` and its short forms, `fault.reset`, `fault.shapes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from invoke.context import Context

from apps.kit.faults import SHAPES_TOLD, Link, Partition, Reset
from fabfile.faults import LONG, MINUTE, inject
from fabfile.verb import LOCAL, verb
from lab.errors import LabError

WAYS = {
    "on": "Hosts whose outgoing packets suffer, comma-separated; all if not given.",
    "to": "For which hosts, comma-separated; all, and broadcasts, if not given.",
    "both": "The packets that come back suffer as well.",
}


@verb(
    "json",
    delay="Each packet is so much later: 50ms. A ping's answer, too, with --both.",
    jitter="The delay is drawn evenly, so much more or less: 5ms.",
    loss="The part of packets that is lost: 20%.",
    duplicate="The part that arrives twice: 1%.",
    reorder="The part that overtakes those that are delayed: 25%.",
    corrupt="The part that has one bit flipped: 0.1%.",
    rate="No more than so many bits a second: 1mbit.",
    **WAYS,
    **LONG,
)
def link(
    c: Context,
    on: str = "",
    to: str = "",
    delay: str = "",
    jitter: str = "",
    loss: str = "",
    duplicate: str = "",
    reorder: str = "",
    corrupt: str = "",
    rate: str = "",
    both: bool = False,
    for_: str = MINUTE,
    inventory: str = LOCAL,
    json: bool = False,
) -> None:
    """Delay, lose, double, reorder, damage or hold back the packets of a link.

    For example: fab fault.link --on n1 --to n2,n3 --delay 50ms --jitter 5ms --loss 1%
    """
    from lab.faults.quantities import bits_per_second, part, seconds

    given = {
        "delay": (seconds, delay),
        "jitter": (seconds, jitter),
        "loss": (part, loss),
        "duplicate": (part, duplicate),
        "reorder": (part, reorder),
        "corrupt": (part, corrupt),
        "rate": (bits_per_second, rate),
    }
    effects = {name: read(text) for name, (read, text) in given.items() if text}
    inject(inventory, for_, *_links(on, to, effects, both=both), json=json)


@verb("json", time="How much later each is: 50ms.", jitter="More or less.", **WAYS, **LONG)
def delay(
    c: Context,
    time: str,
    on: str = "",
    to: str = "",
    jitter: str = "0s",
    both: bool = False,
    for_: str = MINUTE,
    inventory: str = LOCAL,
    json: bool = False,
) -> None:
    """Delay packets: fab fault.delay 50ms --on n1."""
    from lab.faults.quantities import seconds

    effects = {"delay": seconds(time), "jitter": seconds(jitter)}
    inject(inventory, for_, *_links(on, to, effects, both=both), json=json)


@verb("json", part="The part of packets that is lost: 20%.", **WAYS, **LONG)
def loss(
    c: Context,
    part: str,
    on: str = "",
    to: str = "",
    both: bool = False,
    for_: str = MINUTE,
    inventory: str = LOCAL,
    json: bool = False,
) -> None:
    """Lose packets: fab fault.loss 20% --on n1."""
    from lab.faults import quantities

    inject(inventory, for_, *_links(on, to, {"loss": quantities.part(part)}, both=both), json=json)


@verb("json", rate="No more than so many bits a second: 1mbit.", **WAYS, **LONG)
def rate(
    c: Context,
    rate: str,
    on: str = "",
    to: str = "",
    both: bool = False,
    for_: str = MINUTE,
    inventory: str = LOCAL,
    json: bool = False,
) -> None:
    """Hold packets back: fab fault.rate 1mbit --on n1."""
    from lab.faults.quantities import bits_per_second

    inject(inventory, for_, *_links(on, to, {"rate": bits_per_second(rate)}, both=both), json=json)


@verb("json", host="The host whose connections end.", peers="To which hosts; all if not given.")
def reset(
    c: Context, host: str, peers: str = "", inventory: str = LOCAL, json: bool = False
) -> None:
    """Reset the TCP connections of a host to its peers; SSH's stay."""
    inject(inventory, MINUTE, lambda _: Reset(host, _names(peers)), json=json)


@verb("json", hosts="How many hosts the pictures have.")
def shapes(c: Context, hosts: int = 5, json: bool = False) -> None:
    """Show the shapes of partitions: who hears whom."""
    from lab import screen

    if not 2 <= hosts <= 50:
        raise LabError(f"a partition of {hosts} hosts has no picture", "take 2 to 50: --hosts 5")
    names = tuple(f"n{number}" for number in range(1, hosts + 1))
    made = {shape: Partition(shape, names) for shape in SHAPES_TOLD}
    if json:
        screen.as_json(
            [
                {"shape": shape, "told": SHAPES_TOLD[shape], "cut": sorted(partition.cut())}
                for shape, partition in made.items()
            ]
        )
        return
    for shape, partition in made.items():
        print(f"{shape}: {SHAPES_TOLD[shape]}", _picture(partition), sep="\n")
    print("A row is who sends, a column who hears: ● arrives, · does not.")


def _picture(partition: Partition) -> str:
    cut, names = partition.cut(), partition.hosts
    if not cut:
        return f"  nothing is cut: {len(names)} hosts are too few\n"
    width = max(map(len, names)) + 1
    lines = ["".join(["  ", " " * width, *(f"{name:>{width}}" for name in names)])]
    for sender in names:
        marks = [
            " " if sender == hearer else "·" if (sender, hearer) in cut else "●" for hearer in names
        ]
        lines.append("".join(["  ", f"{sender:<{width}}", *(f"{m:>{width}}" for m in marks)]))
    return "\n".join(lines) + "\n"


def _links(
    on: str, to: str, effects: dict[str, float], *, both: bool
) -> list[Callable[[Any], Link]]:
    """Give what makes the link's fault of an inventory, and that of the way back."""

    def there(inventory: Any) -> Link:
        return Link(_names(on) or tuple(inventory.hosts), _names(to), **effects)

    def back(inventory: Any) -> Link:
        first = there(inventory)
        others = tuple(host for host in inventory.hosts if host not in first.on)
        return Link(first.to or others, first.on, **effects)

    if both and not on:
        raise LabError("--both takes --on: of all hosts every way suffers already")
    return [there, back] if both else [there]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()
