"""Machines of somebody's own, as `inventory/real.example` has them: lent, used, and given back.

Three local hosts are made foreign: a user of another name with sudo and a key, SSH on another port,
firewall rules of the site's own. Then the lab knows of them no more than the filled-in example says
(docs/real-hosts.md). They have no way to a mirror: Debian packages of the patterns are there.
"""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from lab.catalogue import ROOT
from lab.hosts.inventory import Inventory, load
from lab.hosts.remote import Remote
from tests.throwaway_lab import Lab

pytestmark = pytest.mark.usefixtures("needs_root")

PORT = 2222
PLACEMENT = {
    "tcp_echo": {"server": ["t1"], "client": ["t2", "t3"]},
    "mqtt": {"broker": ["t3"], "subscriber": ["t1"], "publisher": ["t2"], "client": ["t2"]},
}
FOREIGN = """
set -eu
useradd --create-home --shell /bin/bash --password '*' ops
install --directory --mode=700 --owner=ops --group=ops ~ops/.ssh
echo '{key}' >~ops/.ssh/authorized_keys
echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
: >/etc/apt/sources.list
echo "127.0.1.1 $(hostname) $(hostname)" >>/etc/hosts
cat >/etc/nftables.conf <<'END'
flush ruleset
table inet site {{
    chain input {{
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif lo accept
        tcp dport {port} accept
        ip saddr {subnet} accept comment "the lab"
    }}
}}
END
systemctl enable --quiet --now nftables
echo 'Port {port}' >/etc/ssh/sshd_config.d/site.conf
rm -r /etc/sudoers.d/lab ~lab/.ssh
systemctl restart ssh
"""
"""What makes a local host a foreign one, for root's shell."""
SNAPSHOT = r"""
cd /
# What Debian's packages, the journal, and any login change is not the lab's.
find . -xdev \( -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache \
    -o -path ./var/log -o -path ./proc -o -path ./sys -o -path ./dev -o -path ./run \) -prune \
    -o -printf '%p %y %m %U:%G %l\n' | sort
find etc home opt root srv usr/local var/lib var/tmp tmp -xdev -type f \
    -not -path 'var/lib/dpkg/*' -not -path 'var/lib/apt/*' -not -path 'var/lib/systemd/*' \
    -exec sha256sum {} + | sort --key=2
find run -name '*distlab*' -o -name 'lab-*'
nft --stateless list ruleset
ip -oneline address show dev host0 | cut -d' ' -f1-7
ip route
ip rule
tc qdisc show dev host0
systemctl list-unit-files --no-legend --no-pager
systemctl list-units --all --plain --no-legend --no-pager 'lab-*' '*distlab*' | grep -v network
getent passwd
"""
"""What a machine is, as lines: its files, rules, network, units and users."""


def fab(verb: str, inventory: Inventory, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a verb on the machines."""
    program = Path(sys.executable).with_name("fab")
    return subprocess.run(
        [str(program), verb, "--inventory", str(inventory.path), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def succeeds(verb: str, inventory: Inventory, *options: str) -> str:
    """Run a verb that ends with 0; give what it printed."""
    done = fab(verb, inventory, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def snapshots(inventory: Inventory) -> Mapping[str, list[str]]:
    """Take down what every machine is."""
    with Remote(inventory) as remote:
        return {
            host: remote.must(host, f"sudo -n sh <<'END'\n{SNAPSHOT}\nEND").splitlines()
            for host in inventory.hosts
        }


def filled_in(lab: Lab, home: Path, key: Path) -> Inventory:
    """Fill in a copy of the example, as docs/real-hosts.md says."""
    path = home / "inventory" / "mine"
    shutil.copytree(ROOT / "inventory" / "real.example", path, symlinks=True)
    text = (path / "hosts.yml").read_text()
    example = yaml.safe_load(text)
    hosts = lab.inventory.hosts
    example["lab"]["hosts"] = {n: {"lab_address": str(h.address)} for n, h in hosts.items()}
    example["lab"]["vars"] |= {
        "lab_name": "test-mine",
        "lab_subnet": lab.subnet,
        "lab_controller": str(lab.inventory.controller),
        "ansible_user": "ops",
        "ansible_port": PORT,
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": "-o UserKnownHostsFile={{ lab_directory }}/known_hosts",
    }
    (path / "hosts.yml").write_text(yaml.safe_dump(example))
    (path / "placement.yml").unlink()
    (path / "placement.yml").write_text(yaml.safe_dump(placement()))
    inventory = load(path)
    inventory.directory.mkdir(parents=True)
    keys = re.findall(r"^\S+,(\S+) (.+)$", lab.inventory.known_hosts.read_text(), re.MULTILINE)
    inventory.known_hosts.write_text("".join(f"[{host}]:{PORT} {key}\n" for host, key in keys))
    return inventory


def placement() -> dict[str, object]:
    """Give the placement in the inventory's form."""
    return {
        pattern: {
            "children": {
                f"{pattern}_{group}": {"hosts": dict.fromkeys(hosts)}
                for group, hosts in groups.items()
            }
        }
        for pattern, groups in PLACEMENT.items()
    }


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """Foreign machines, and the inventory that knows them."""
    home = tmp_path_factory.mktemp("real")
    lab = Lab(home, "test-real", "198.19.206")
    lab.reclaim()
    key = home / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    script = FOREIGN.format(key=public, port=PORT, subnet=lab.subnet)
    try:
        lab.up()
        for host in lab.inventory.hosts:
            lab.said(host, f"sudo sh <<'END-OF-SCRIPT'\n{script}\nEND-OF-SCRIPT")
        yield filled_in(lab, home, key)
    finally:
        lab.down(wipe=True)


@pytest.fixture(scope="module")
def before(machines: Inventory) -> Mapping[str, list[str]]:
    """What the machines were before they were lent."""
    return snapshots(machines)


@pytest.fixture(scope="module")
def deployed(machines: Inventory, before: Mapping[str, list[str]]) -> Inventory:
    """The machines with the patterns on them."""
    assert before
    succeeds("deploy", machines)
    return machines


def test_units_serve_and_demos_hold(deployed: Inventory) -> None:
    succeeds("status", deployed)
    succeeds("run-demo", deployed, "--only", "tcp_echo", "--seed", "1")


def test_a_machines_own_name_is_its_address_in_the_lab(deployed: Inventory) -> None:
    with Remote(deployed) as remote:
        for name, host in deployed.hosts.items():
            found = remote.must(name, f"getent ahostsv4 {name}").splitlines()
            assert {line.split()[0] for line in found} == {str(host.address)}


def test_the_sites_firewall_and_ours_stand_side_by_side(deployed: Inventory) -> None:
    """Also when the site loads its own anew, which flushes all tables."""
    tables = {"table inet site", "table inet distlab_host"}
    with Remote(deployed) as remote:
        assert set(remote.must("t1", "sudo -n nft list tables").splitlines()) == tables
        for verb in ("reload", "restart"):
            remote.must("t1", f"sudo -n systemctl {verb} nftables")
            assert set(remote.must("t1", "sudo -n nft list tables").splitlines()) == tables


def test_faults_leave_the_way_in_open(deployed: Inventory) -> None:
    succeeds("fault.partition", deployed, "--shape", "isolate", "--for", "60s")
    with Remote(deployed) as remote:
        cut = {host: remote.run(host, "ping -c 1 -W 1 t1").exit_status for host in deployed.hosts}
    succeeds("heal", deployed)
    assert 1 in cut.values()
    with Remote(deployed) as remote:
        assert all(
            remote.run(host, "ping -c 1 -W 5 t1").exit_status == 0 for host in deployed.hosts
        )


def test_power_is_not_ours_to_cut(deployed: Inventory) -> None:
    done = fab("fault.power-off", deployed, "t1", "--for", "5s")
    assert done.returncode == 2
    assert "real machines" in done.stderr


def test_remove_gives_them_back_as_they_were(
    deployed: Inventory, before: Mapping[str, list[str]]
) -> None:
    succeeds("remove", deployed)
    for host, lines in snapshots(deployed).items():
        changed = [
            line
            for line in difflib.unified_diff(before[host], lines, lineterm="", n=0)
            if not line.startswith(("---", "+++", "@@"))
        ]
        assert changed == [], host
