"""What the side without root asks of the side with root: plain data, checked on arrival.

The unprivileged side has read the inventory; root is asked only for what root must do. The data
crosses `sudo` as JSON, so every field is checked again before a path or a command is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Self

from lab.errors import LabError
from lab.hosts.inventory import EMBEDDED_RANGE, HOST_NAME, LAB_NAME

PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
SUITE_NAME = re.compile(r"[a-z][a-z0-9-]*")
DEVICE_NAME = 15
"""Characters that a network device's name may have."""
CABLE = re.compile(r"[0-9]{1,3}[ab]")
PUBLIC_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]+( [^\n]*)?")


@dataclass(frozen=True)
class ImageSpec:
    """Which Debian the hosts run."""

    suite: str
    packages: tuple[str, ...]
    """Debian packages that the roles declare, on top of the image's own."""


@dataclass(frozen=True)
class Wiring:
    """How a machine stands in a topology: what it has beside `host0`."""

    cables: tuple[str, ...]
    """One end of a link each: the link's number and `a` or `b`. See `LabSpec.cable`."""
    network: str
    """What its ip(8) does as it boots, as lines of `ip -batch`."""
    forwards: bool
    """Whether it passes on packets that are for others."""
    reached: str = ""
    """Its address behind the links, which this machine reaches past them; none for a switch."""


@dataclass(frozen=True)
class LabSpec:
    """One lab of nspawn machines: on one bridge, or wired as a topology has it."""

    lab: str
    directory: str
    """`.lab/<lab>` of the checkout that the lab belongs to, absolute."""
    subnet: str
    controller: str
    hosts: Mapping[str, str]
    """Host name to address on the lab's bridge."""
    login_key: str
    """The public key, as in authorized_keys, that opens user `lab`."""
    image: ImageSpec
    management: str = ""
    """The part of the subnet that is on the lab's bridge; all of it without a topology."""
    wiring: Mapping[str, Wiring] = field(default_factory=dict)

    @property
    def network(self) -> IPv4Network:
        """What is on the lab's bridge."""
        return IPv4Network(self.management or self.subnet)

    @property
    def bridge(self) -> str:
        return f"dl-{self.lab}"

    def link_bridge(self, cable: str) -> str:
        """What joins the two cables of a link on this machine."""
        return f"dl-{self.lab}.{cable[:-1]}"

    def cable(self, cable: str) -> tuple[str, str]:
        """This machine's end of a cable, and that which goes into the host."""
        return f"vl-{self.lab}.{cable}", f"vg-{self.lab}.{cable}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The spec in `data`, or LabError naming the field that is not what it must be."""
        try:
            fields = {name: str(data[name]) for name in _TEXTS}
            hosts = {str(name): str(address) for name, address in data["hosts"].items()}
            packages = tuple(str(package) for package in data["image"]["packages"])
            image = ImageSpec(str(data["image"]["suite"]), packages)
            wiring = {
                str(host): Wiring(
                    tuple(str(cable) for cable in wired["cables"]),
                    str(wired["network"]),
                    bool(wired["forwards"]),
                    str(wired["reached"]),
                )
                for host, wired in data.get("wiring", {}).items()
            }
            management = str(data.get("management", ""))
            spec = cls(**fields, hosts=hosts, image=image, management=management, wiring=wiring)
        except (AttributeError, KeyError, TypeError) as error:
            raise _refusal("shape", repr(error)) from error
        spec.check()
        return spec

    def check(self) -> None:
        """LabError if a field could lead a command or a path astray."""
        _demand("lab", self.lab, bool(LAB_NAME.fullmatch(self.lab)))
        _demand("directory", self.directory, Path(self.directory).is_absolute())
        _demand("login_key", self.login_key, bool(PUBLIC_KEY.fullmatch(self.login_key)))
        _demand("suite", self.image.suite, bool(SUITE_NAME.fullmatch(self.image.suite)))
        for package in self.image.packages:
            _demand("package", package, bool(PACKAGE_NAME.fullmatch(package)))
        try:
            subnet, network = IPv4Network(self.subnet), self.network
            controller = IPv4Address(self.controller)
            addresses = [IPv4Address(address) for address in self.hosts.values()]
        except ValueError as error:
            raise _refusal("address", str(error)) from error
        _demand("subnet", self.subnet, subnet.subnet_of(EMBEDDED_RANGE))
        _demand("management", self.management, network.subnet_of(subnet))
        _demand("controller", self.controller, controller in network)
        _demand("hosts", str(len(self.hosts)), len({controller, *addresses}) == len(addresses) + 1)
        for name, address in self.hosts.items():
            _demand("host", name, bool(HOST_NAME.fullmatch(name)))
            _demand("address", address, IPv4Address(address) in network)
        self._check_wiring(subnet)

    def _check_wiring(self, subnet: IPv4Network) -> None:
        for host, wired in self.wiring.items():
            _demand("wiring", host, host in self.hosts)
            for cable in wired.cables:
                _demand("cable", cable, bool(CABLE.fullmatch(cable)))
                _demand("lab", self.lab, len(self.cable(cable)[0]) <= DEVICE_NAME)
            if wired.reached:
                _demand("address", wired.reached, _inside(wired.reached, subnet))


def _inside(address: str, subnet: IPv4Network) -> bool:
    try:
        return IPv4Address(address) in subnet
    except ValueError:
        return False


_TEXTS = ("lab", "directory", "subnet", "controller", "login_key")


def _demand(field: str, value: str, holds: bool) -> None:  # noqa: FBT001
    if not holds:
        raise _refusal(field, value)


def _refusal(field: str, value: str) -> LabError:
    return LabError(
        f"the lab's specification has a bad {field}: {value}",
        "it is made from the inventory by lab.hosts; call that, not lab.hosts.privileged",
    )
