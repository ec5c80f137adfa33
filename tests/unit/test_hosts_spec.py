"""What crosses to root is plain data, and nothing in it can lead a path or a command astray."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.errors import LabError
from lab.hosts.spec import ImageSpec, LabSpec

SPEC = LabSpec(
    lab="mine",
    directory="/home/me/distlab/.lab/mine",
    subnet="198.18.9.0/24",
    controller="198.18.9.1",
    hosts={"n1": "198.18.9.11", "n2": "198.18.9.12"},
    login_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA distlab-mine",
    image=ImageSpec("bookworm", ("jq",)),
)


def crossed(**changed: object) -> dict[str, Any]:
    """What arrives when these top-level fields are something else."""
    arrived: dict[str, Any] = json.loads(json.dumps({**SPEC.to_json(), **changed}))
    return arrived


def test_it_survives_the_crossing() -> None:
    assert LabSpec.from_json(crossed()) == SPEC


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lab", "../etc"),
        ("lab", "a" * 12),
        ("directory", "here"),
        ("subnet", "10.0.0.0/24"),
        ("subnet", "everything"),
        ("controller", "198.18.8.1"),
        ("hosts", {"n1": "198.18.9.1"}),
        ("hosts", {"n1": "198.18.9.11", "n2": "198.18.9.11"}),
        ("hosts", {"../n1": "198.18.9.11"}),
        ("hosts", {"n1": "198.18.8.11"}),
        ("hosts", ["n1"]),
        ("login_key", "ssh-ed25519 AAAA\nssh-ed25519 BBBB"),
        ("login_key", 'command="sh" ssh-ed25519 AAAA'),
        ("image", {"suite": "bookworm", "packages": ["--hook=evil"]}),
        ("image", {"suite": "--help", "packages": []}),
        ("image", {"suite": "bookworm"}),
    ],
)
def test_a_bad_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(LabError, match="the lab's specification has a bad"):
        LabSpec.from_json(crossed(**{field: value}))
