"""Appends a second, and how long one takes: the replicated log, beside etcd on the same hosts.

Both answer once a majority has an append synced on its disk: our master and two secondaries, and
three members of etcd, asked through its HTTP gateway where its leader is. The client is the same
for both, `appender.py`; it writes and reads as little as HTTP allows. Then the log alone grows.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import yaml

from benchmarks.figures import Figure, Tell, Traffic, compared
from benchmarks.stand import Stand
from benchmarks.tools import Serving
from lab.catalogue import Pattern
from lab.errors import LabError
from lab.evidence.stage import PYTHON
from lab.hosts.remote import Remote
from lab.status import option

CLIENTS = (1, 16, 64)
SIZES = {16: "16 bytes", 1024: "1 KiB"}
SECONDARIES = (2, 3, 5, 9)
"""The first is for the comparison: three hosts have the log, and three have etcd."""
_CLIENT = "hub"
_SECONDS = 4
_PATIENCE = 20.0
_THERE = "/tmp/distlab-appends"  # noqa: S108  on hosts that nobody else uses
_ASKED, _PEERS = 12379, 12380
"""etcd's ports."""
_CROWD = re.compile(r"n\[1:\d+\]")
_PACKAGES = "lab:\n  vars:\n    lab_packages: [etcd-server]\n"
"""On top of the inventory: the peer comes with the hosts' image, which is built anew for it."""


def appends(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure on ten hosts of inventory/fifty and their hub."""
    crowd = stand.tree / "inventory" / "fifty"
    for name in ("hosts.yml", "crowd.yml"):
        (crowd / name).write_text(_CROWD.sub(f"n[1:{1 + SECONDARIES[-1]}]", _read(crowd / name)))
    (crowd / "etcd.yml").write_text(_PACKAGES)
    shared = stand.tree / "inventory" / "placement.yml"
    placement = _read(shared)
    tell("booting the hosts")
    stand.fab("down", "fifty", "--wipe")
    stand.fab("up", "fifty")
    try:
        for number in SECONDARIES:
            shared.write_text(_placed(placement, number))
            stand.fab("deploy", "fifty", "--only", "replicated_log")
            with Remote(stand.inventory("fifty")) as remote:
                if number == SECONDARIES[0]:
                    yield from _beside_etcd(remote, runs, tell)
                else:
                    yield from _grown(remote, number, runs, tell)
    finally:
        shared.write_text(placement)  # other inventories have fewer hosts
    stand.fab("down", "fifty", "--wipe")


def _placed(text: str, secondaries: int) -> str:
    """Have the master on n1, and so many secondaries from n2 on, in a placement."""
    placement = yaml.safe_load(text)
    groups = placement["replicated_log"]["children"]
    groups["replicated_log_master"]["hosts"] = {"n1": None}
    groups["replicated_log_secondary"]["hosts"] = {f"n[2:{1 + secondaries}]": None}
    return str(yaml.safe_dump(placement))


def _beside_etcd(remote: Remote, runs: int, tell: Tell) -> Iterator[Figure]:
    groups = remote.inventory.groups
    hosts = [*groups["replicated_log_master"], *groups["replicated_log_secondary"]]
    with ExitStack() as stack:
        etcd = _etcd(remote, hosts, stack)
        for size, told in SIZES.items():
            for clients in CLIENTS:
                tell(f"{clients} clients, {told}, the log and etcd by turns")
                ours, theirs = [], []
                for _ in range(runs):
                    ours.append(_load(remote, "log", _master(remote), clients, size))
                    theirs.append(_load(remote, "etcd", etcd, clients, size))
                note = f"w=majority of {len(hosts)} hosts, from {_CLIENT}"
                what = f"{_clients(clients)}, {told}"
                yield from compared("appends", what, ours, ("etcd, HTTP gateway", theirs), note)


def _grown(remote: Remote, secondaries: int, runs: int, tell: Tell) -> Iterator[Figure]:
    size, told = next(iter(SIZES.items()))
    for clients in CLIENTS:
        tell(f"{clients} clients, {secondaries} secondaries")
        found = [_load(remote, "log", _master(remote), clients, size) for _ in range(runs)]
        what = f"{secondaries} secondaries, {_clients(clients)}, {told}"
        yield Figure("appends", f"{what}, rate", "/s", tuple(run.rate for run in found))
        yield Figure("appends", f"{what}, p50", "ms", tuple(run.p50 for run in found))
        yield Figure("appends", f"{what}, p99", "ms", tuple(run.p99 for run in found))


def _load(remote: Remote, kind: str, address: str, clients: int, size: int) -> Traffic:
    program = Path(__file__).with_name("appender.py").read_bytes()
    remote.connection(_CLIENT).put(io.BytesIO(program), f"{_THERE}.py")
    amount = f"--clients {clients} --size {size} --seconds {_SECONDS}"
    said = remote.must(_CLIENT, f"{PYTHON} {_THERE}.py {kind} {address} {amount}", 60)
    found = json.loads(said)
    return Traffic(found["rate"], found["p50_ms"], found["p99_ms"])


def _master(remote: Remote) -> str:
    """Give where clients find the master, once it takes messages."""
    (host,) = remote.inventory.groups["replicated_log_master"]
    port = option(remote.inventory, host, Pattern("replicated_log"), "replicated_log_master_port")
    address = f"{remote.inventory.hosts[host].address}:{port}"
    _until(remote, f'curl --silent http://{address}/health | grep -q \'"status": "ok"\'')
    return address


def _etcd(remote: Remote, hosts: Sequence[str], stack: ExitStack) -> str:
    """Run etcd on these hosts while the stack lasts; where its leader takes clients."""
    at = {host: remote.inventory.hosts[host].address for host in hosts}
    members = ",".join(f"{host}=http://{at[host]}:{_PEERS}" for host in hosts)
    for host in hosts:
        asked, peers = f"http://{at[host]}:{_ASKED}", f"http://{at[host]}:{_PEERS}"
        line = (
            f"mkdir -p /var/tmp/etcd; echo $$ > {_THERE}.pid; exec etcd --name {host}"
            f" --data-dir /var/tmp/etcd --initial-cluster {members}"
            f" --listen-client-urls {asked} --advertise-client-urls {asked}"
            f" --listen-peer-urls {peers} --initial-advertise-peer-urls {peers}"
        )
        started = remote.start(host, line, 3600)
        serving = Serving(remote, started, _ASKED, tcp=True, pid=f"{_THERE}.pid")
        stack.callback(serving.stop)
    for host in hosts:
        status = f"curl --silent --data '{{}}' http://{at[host]}:{_ASKED}/v3/maintenance/status"
        _until(remote, f"{status} | grep -q leader")
        told = json.loads(remote.must(_CLIENT, status))
        if told["leader"] == told["header"]["member_id"]:
            return f"{at[host]}:{_ASKED}"
    raise LabError("no member of etcd leads")


def _until(remote: Remote, command: str) -> None:
    """Wait until a command succeeds where the client is."""
    deadline = time.monotonic() + _PATIENCE
    while remote.run(_CLIENT, command).exit_status:
        if time.monotonic() > deadline:
            raise LabError(f"in vain for {_PATIENCE:g} s: {command}")
        time.sleep(0.2)


def _clients(number: int) -> str:
    return f"{number} client" + ("s" if number > 1 else "")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
