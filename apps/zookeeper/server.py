"""One server of the ensemble: Debian's ZooKeeper, configured by the unit's options alone.

It is ready when it has a mode, which takes a quorum. Servers come one after another, and some may
be gone: who waited for a quorum in vain for a while is ready as well, for it does what it can, and
another start would not help. Its mode is an event whenever it is another.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apps.kit.address import Address
from apps.kit.daemon import Daemon
from apps.kit.events import Events
from apps.kit.retry import Deadline

JAVA = "/usr/bin/java"
JARS = Path("/usr/share/java")
"""Where Debian has them."""
_NEEDED = (
    "zookeeper",
    "zookeeper-jute",
    "slf4j-api",
    "slf4j-simple",
    "netty-all",
    "metrics-core",
    "snappy-java",
)
CLASSPATH = ":".join(str(JARS / f"{name}.jar") for name in _NEEDED)
_PATIENCE = 6.0
"""Seconds that it waits for a quorum before it is ready without."""
_INIT_TICKS = 20
_SYNC_TICKS = 4
"""Ticks that a follower may be behind, or silent, before leader and follower part."""
_FRAME = re.compile(r"\s+(at |\.\.\. )")
"""A line of a stack trace: which class called which tells nobody here anything."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a server is told: the unit's options."""

    name: str
    listen: Address
    members: Sequence[tuple[str, Address]]
    """All servers and where their clients come, this one too; the order gives their numbers."""
    quorum_port: int
    election_port: int
    tick: int
    """Milliseconds."""
    heap: int
    """MiB."""
    connections: int
    """Of one address."""

    @property
    def number(self) -> int:
        """Which server this is; OSError if it is none."""
        names = [name for name, _ in self.members]
        if self.name not in names:
            told = ", ".join(names) or "nobody"
            raise OSError(f"{self.name} is no member of the ensemble: it is {told}")
        return names.index(self.name) + 1

    def text(self) -> str:
        """Give it as zoo.cfg has it; OSError if the ensemble makes no sense."""
        count = len(self.members)
        if count % 2 == 0:
            raise OSError(
                f"an ensemble of {count} bears no more failures than one of {count - 1}: "
                "place an odd number of servers"
            )
        ports = f"{self.quorum_port}:{self.election_port}"
        servers = [
            f"server.{number}={address.host}:{ports}"
            for number, (_, address) in enumerate(self.members, 1)
        ]
        return "\n".join([*self._lines(), *servers, ""])

    def _lines(self) -> list[str]:
        return [
            f"tickTime={self.tick}",
            f"initLimit={_INIT_TICKS}",
            f"syncLimit={_SYNC_TICKS}",
            f"dataDir={Path.cwd()}",
            f"clientPort={self.listen.port}",
            f"clientPortAddress={self.listen.host}",
            f"maxClientCnxns={self.connections}",
            "4lw.commands.whitelist=srvr,ruok,mntr,conf",
            "admin.enableServer=false",
            "standaloneEnabled=false",
            "autopurge.snapRetainCount=3",
            "autopurge.purgeInterval=1",
            # Of each new log; 64 MiB are its default.
            "preAllocSize=1024",
        ]


class ZooKeeper(Daemon):
    """The server, while it is entered. Its data are in the working directory."""

    name = "zookeeper"

    def __init__(self, configuration: Configuration, events: Events) -> None:
        """Nothing begins before it is entered."""
        super().__init__(events)
        self._configuration = configuration
        self._mode = ""
        self._has_served = False

    def command(self) -> Sequence[str]:
        """Write zoo.cfg and myid; OSError if that cannot be."""
        number, text = self._configuration.number, self._configuration.text()
        Path("zoo.cfg").write_text(text, encoding="ascii")
        Path("myid").write_text(f"{number}\n", encoding="ascii")
        self._patience = Deadline(_PATIENCE)
        return [
            JAVA,
            f"-Xmx{self._configuration.heap}m",
            # A small heap, a quick start, and two cores that others need as well.
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.net.preferIPv4Stack=true",
            # Who is cut off drops packets: an election must not wait for it.
            "-Dzookeeper.cnxTimeout=1000",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showThreadName=false",
            "-Dorg.slf4j.simpleLogger.showShortLogName=true",
            "-cp",
            CLASSPATH,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            "./zoo.cfg",
        ]

    async def answers(self) -> bool:
        """Whether it serves, or answers at all once it has served or waited long enough."""
        told = await four_letters(self._configuration.listen, "srvr")
        found = re.search(r"^Mode: (\w+)", told, re.MULTILINE)
        mode = found[1] if found else "looking"
        if mode != self._mode:
            self._mode = mode
            self.events.emit("mode", mode=mode)
        self._has_served = self._has_served or found is not None
        return bool(told) and (self._has_served or self._patience.passed)

    def heard(self, line: str) -> None:
        """Tell a line, but none of a stack trace."""
        if not _FRAME.match(line):
            self.events.bounded("said", line=line)


async def four_letters(server: Address, word: str) -> str:
    """Ask a server one of ZooKeeper's four-letter words; OSError if it cannot be asked."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(word.encode())
        return (await reader.read()).decode(errors="replace")
    finally:
        writer.close()
