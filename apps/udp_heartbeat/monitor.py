"""The monitor's way to the network: heartbeats from anyone, by unicast and by broadcast."""

from __future__ import annotations

from contextlib import AsyncExitStack

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.node import Node
from apps.kit.store import Store, state_directory
from apps.kit.transport import Receive
from apps.kit.udp import UdpEndpoint
from apps.udp_heartbeat.core import Monitor


class OpenEars:
    """Takes datagrams of whoever sends them. See `apps.kit.transport.Transport`.

    A socket that is bound to the host's own address gets no broadcasts, so there is a second one
    for those, bound to the subnet's broadcast address.
    """

    def __init__(self, listen: Address, broadcast: str) -> None:
        """`broadcast` is the subnet's broadcast address, or nothing."""
        self._addresses = [listen, *([Address(broadcast, listen.port)] if broadcast else [])]
        self._open = AsyncExitStack()

    async def open(self, receive: Receive) -> None:
        """See `Transport.open`; OSError if an address is not this host's."""

        def arrive(data: bytes, sender: Address) -> None:
            receive(str(sender), data)

        for address in self._addresses:
            await self._open.enter_async_context(UdpEndpoint(address, arrive, broadcast=True))

    def send(self, to: str, data: bytes) -> None:
        """A monitor sends nothing."""

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._open.aclose()


def monitor(core: Monitor, listen: Address, broadcast: str, events: Events) -> Node:
    """Give the monitor as a service: heartbeats by UDP, clients by TCP on the same port."""
    store = Store(state_directory() / "monitor.json")
    return Node(core, events.node, listen, OpenEars(listen, broadcast), events=events, store=store)
