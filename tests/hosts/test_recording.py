"""What a run reads of hosts' journals."""

from __future__ import annotations

import json
import shlex

import pytest

from lab.evidence.recording import Recording
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote


@pytest.mark.parametrize("length", [10, 40_000])
def test_an_event_is_read_whole(inventory: Inventory, remote: Remote, length: int) -> None:
    host = next(iter(inventory.hosts))
    unit = f"event-of-{length}.service"
    recording = Recording(remote, {host: [unit]})
    said = {"event": "said", "text": "x" * length}
    words = ["sudo", "systemd-run", "--quiet", "--wait", f"--unit={unit}", "echo", json.dumps(said)]
    remote.must(host, shlex.join(words))
    assert recording.read() == {}
    assert said in recording.events
