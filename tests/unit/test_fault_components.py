"""What a wrong clock and a bad disk mean for a host, and what is sent there for them."""

from __future__ import annotations

import platform

import pytest

from apps.kit.faults import Clock, Disk, Fault
from lab.catalogue import ROOT
from lab.errors import LabError
from lab.faults import quantities
from lab.faults.orders import orders
from lab.faults.sent import clock_library, file_system_binding, named
from lab.hosts.inventory import Inventory, load

GROUP = "rest_api_server"
UNIT = "lab-rest-api-server.service"


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return load(ROOT / "inventory" / "local")


def test_clock_needs_its_library_and_says_for_what_machine_it_is(inventory: Inventory) -> None:
    (order,) = orders(Clock("n1", GROUP, offset=5.0), inventory).values()
    assert order.files == (clock_library(),)
    assert order.parameters == {
        "unit": UNIT,
        "offset": 5.0,
        "drift": 0.0,
        "library": clock_library().path,
        "machine": platform.machine(),
    }
    assert clock_library().content.startswith(b"\x7fELF")


def test_disk_needs_its_binding(inventory: Inventory) -> None:
    (order,) = orders(Disk("n1", GROUP, full=True, free=4096), inventory).values()
    assert order.files == (file_system_binding(),)
    assert order.parameters["unit"] == UNIT
    assert order.parameters["binding"] == file_system_binding().path
    assert (order.parameters["full"], order.parameters["free"]) == (True, 4096)
    assert b"class FUSE" in file_system_binding().content


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Clock("n1", "sundial", offset=1.0), "no component 'sundial'"),
        (Clock("n2", GROUP, offset=1.0), "not placed on n2"),
        (Disk("n77", GROUP, forgets=True), "no host 'n77'"),
    ],
    ids=str,
)
def test_component_that_is_not_there_is_refused(
    inventory: Inventory, fault: Fault, why: str
) -> None:
    with pytest.raises(LabError, match=why):
        orders(fault, inventory)


def test_name_of_what_is_sent_tells_its_content() -> None:
    one, same, other = (named("tools", ".py", content) for content in (b"1", b"1", b"2"))
    assert one == same
    assert one.name != other.name
    assert one.path == f"/run/distlab/{one.name}"


@pytest.mark.parametrize(
    ("text", "value"), [("5s", 5.0), ("+5s", 5.0), ("-1h", -3600.0), (" -50ms", -0.05)]
)
def test_an_offset_has_a_sign(text: str, value: float) -> None:
    assert quantities.signed(quantities.seconds, text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "-", "--1s", "-x"])
def test_what_is_no_offset_says_how_to_write_one(text: str) -> None:
    with pytest.raises(LabError, match="write it as"):
        quantities.signed(quantities.seconds, text)
