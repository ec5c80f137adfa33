"""What a message costs as FlatBuffers, beside msgpack and JSON: on a host, by the client's table.

The three are not alike: msgpack's C code reads all when it opens a message, FlatBuffers' Python
reads what is asked for. So the peer of each figure is named, and stands in the same unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from benchmarks.figures import Figure, Peer, Tell
from benchmarks.stand import Stand
from lab.evidence.client import events_in
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote

PATTERN = "flatbuffers_zmq"
PEERS = ("msgpack", "json")
NUMBERS = (100, 10_000)
_TIMED = {"write_us": "written", "open_us": "opened", "all_us": "read whole"}


def encodings(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Have a host of the pattern compare, some times over."""
    stand.deployed(tell)
    found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    sizes = " ".join(f"--numbers {count}" for count in NUMBERS)
    with Remote(stand.inventory("local")) as remote:
        host = remote.inventory.groups[f"{PATTERN}_client"][0]
        tell(f"{PATTERN} compares on {host}, {runs} times")
        for _ in range(runs):
            said = remote.must(host, f"{PYTHON} -m apps.{PATTERN} compare {sizes} --json")
            for row in events_in(said):
                if row["event"] == "compared":
                    for name in ("bytes", *_TIMED):
                        found[row["format"], row["numbers"], name].append(row[name])
    for count in NUMBERS:
        for peer in PEERS:
            for name, what in _TIMED.items():
                ours, theirs = (
                    tuple(value / 1e3 for value in found[of, count, name])
                    for of in ("flatbuffers", peer)
                )
                about = f"{PATTERN}, {count:,} numbers {what}"
                yield Figure("encodings", about, "ms", ours, peer=Peer(peer, theirs))
            ours, theirs = (tuple(found[of, count, "bytes"]) for of in ("flatbuffers", peer))
            yield Figure(
                "encodings", f"{PATTERN}, {count:,} numbers", "bytes", ours, peer=Peer(peer, theirs)
            )
