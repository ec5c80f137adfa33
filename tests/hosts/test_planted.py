"""Bugs planted in what is deployed: each is caught on the hosts, by the claim that is there for it.

A patch of `planted/` is named after its pattern, says which claim it violates, and is deployed with
`DISTLAB_PLANT` (`lab.plant`), to a lab of its own: the one under test stays as it is. Each takes a
demo, so a sixth of them is played for each commit (`tests.shares`).
At last everything is removed from that lab, which nobody needs any more.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab.catalogue import ROOT, Pattern, with_relied_on
from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from lab.plant import VARIABLE
from tests.shares import share
from tests.throwaway_lab import Lab

FAB = Path(sys.executable).with_name("fab")
pytestmark = pytest.mark.usefixtures("needs_root")
EVIDENCE = re.compile(r"evidence in (\S+)")
LEFTOVERS = """
ls -d /opt/distlab /etc/distlab /var/lib/lab-* /var/lib/private/lab-* /var/tmp/distlab* \\
    /etc/systemd/system/lab-* /etc/systemd/system/*.wants/lab-* 2>/dev/null
systemctl list-units --all --plain --no-legend 'lab-*' distlab-firewall.service
nft list tables
sed -n '/distlab/p' /etc/hosts
"""
"""A shell script that prints what is left of a deploy on a host."""


PLANTED = share(sorted((Path(__file__).parent / "planted").glob("*.patch")), 6)


def fab(
    inventory: Inventory, verb: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a verb on a lab."""
    return subprocess.run(
        [str(FAB), verb, "--inventory", str(inventory.path), *options],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def planted(inventory: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """A lab with all the bugs at once, each in its pattern."""
    names = ["tcp_echo", *(patch.stem for patch in PLANTED)]
    lab = Lab(
        tmp_path_factory.mktemp("planted"),
        "test-plants",
        "198.19.205",
        like=inventory,
        placing=with_relied_on(map(Pattern, names)),
    )
    lab.reclaim()
    patches = os.pathsep.join(map(str, PLANTED))
    try:
        lab.up()
        succeeded(fab(lab.inventory, "deploy", **{VARIABLE: patches}))
        yield lab.inventory
    finally:
        lab.down(wipe=True)


@pytest.mark.parametrize("patch", PLANTED, ids=lambda patch: patch.stem)
def test_a_planted_bug_is_caught_by_its_claim(planted: Inventory, patch: Path) -> None:
    (claim,) = re.findall(r"^Violates: (.+)$", patch.read_text(), re.MULTILINE)
    done = fab(planted, "run-demo", "--only", patch.stem, "--seed", "1", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    verdicts = {verdict["claim"]: verdict for verdict in json.loads(done.stdout)}
    assert verdicts[claim]["verdict"] == "violated"
    assert verdicts[claim]["witness"]
    shown_by_the_run(done.stderr, verdicts[claim])


def test_remove_leaves_nothing_and_a_pattern_alone_brings_it_back(planted: Inventory) -> None:
    """What `remove` took away, `deploy --only` brings back, as far as that pattern needs it."""
    succeeded(fab(planted, "remove"))
    with Remote(planted) as remote:
        for host in planted.hosts:
            assert remote.must(host, f"sudo -n sh <<'END'\n{LEFTOVERS}\nEND") == ""
        succeeded(fab(planted, "deploy", "--only", "tcp_echo"))
        client, server = (planted.groups[f"tcp_echo_{part}"][0] for part in ("client", "server"))
        asked = f"/opt/distlab/bin/python -m apps.tcp_echo client {server} hello"
        assert remote.must(client, asked).startswith("hello")
        assert "table inet distlab_host" in remote.must(client, "sudo -n nft list tables")


def shown_by_the_run(told: str, verdict: dict[str, Any]) -> None:
    """Look whether a run's verdicts and its page have the violated claim and its witness."""
    found = EVIDENCE.search(told)
    assert found is not None, told
    run = ROOT / found[1]
    assert verdict in json.loads((run / "verdicts.json").read_text())
    page = html.unescape((run / "report.html").read_text())
    assert verdict["claim"] in page
    for event in verdict["witness"]:
        assert f"{datetime.fromtimestamp(event['t'], UTC):%H:%M:%S.%f}" in page


def succeeded(done: subprocess.CompletedProcess[str]) -> None:
    """Check that a verb ended with 0."""
    assert done.returncode == 0, done.stdout + done.stderr
