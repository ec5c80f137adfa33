"""What faults do to packets and leave on a host, seen by other means than the fault tools' own."""

from __future__ import annotations

from lab.hosts.remote import Remote

LEFT = r"""
sudo -n nft list tables | grep distlab_faults
sudo -n tc qdisc show | grep d157:
ip -brief link | grep ^distlab
systemctl list-units --all --plain --no-legend 'distlab-emulator*' 'distlab-heal-*'
ls /run/distlab/faults 2>/dev/null
true
"""


def left(remote: Remote, host: str) -> str:
    """What of faults a host still has: table, queue, device, unit, record."""
    return remote.must(host, LEFT)


def clean(remote: Remote, host: str) -> bool:
    """Whether a host has nothing of them left."""
    return left(remote, host) == ""


def answers(remote: Remote, host: str, peer: str, count: int) -> list[float]:
    """Ping every 2 ms; the round trips of what was answered within 2 s, in milliseconds."""
    said = remote.run(host, f"sudo -n ping -c {count} -i 0.002 -W 2 {peer}").stdout
    times = [line.partition("time=")[2].split()[0] for line in said.splitlines() if "time=" in line]
    return [float(time) for time in times]
