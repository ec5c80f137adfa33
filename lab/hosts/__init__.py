"""What the lab stands on: the hosts of an inventory, booted, stopped and reached over SSH."""

from lab.hosts.control import HostState, boot, down, power_off, states, up
from lab.hosts.inventory import Host, Inventory, load

__all__ = [
    "Host",
    "HostState",
    "Inventory",
    "boot",
    "down",
    "load",
    "power_off",
    "states",
    "up",
]
