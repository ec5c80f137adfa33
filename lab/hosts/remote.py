"""Commands on the hosts: Fabric's connections, with host keys checked, many hosts at a time."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import fabric
import paramiko

from lab.errors import LabError
from lab.hosts import ssh
from lab.hosts.inventory import Host, Inventory

T = TypeVar("T")

AT_ONCE = 64
"""Hosts that are worked on at the same time."""
SIGNALLED = -1
"""The exit status of a command that a signal ended."""
LAST_WORDS = 15.0
"""Seconds that a command has to end what it does after SIGTERM; then comes SIGKILL."""
GRACE = 10.0
"""Seconds beyond its own bound in which a command's end must be heard of."""
_PIECE = 1 << 16
"""Bytes of a command's output that are read at once."""


@dataclass(frozen=True)
class Output:
    """What a command on a host printed, and how it ended."""

    host: str
    exit_status: int
    stdout: str
    stderr: str


class Lost(LabError):
    """A host was lost while a command ran on it; `said` is what the command had printed by then."""

    said: str = ""


class Remote:
    """The hosts of an inventory, to run commands on; a context manager that closes connections."""

    def __init__(self, inventory: Inventory) -> None:
        """Nothing is connected until it is used."""
        self.inventory = inventory
        self._connections: dict[str, fabric.Connection] = {}
        self._locks = {name: threading.Lock() for name in inventory.hosts}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._connections.values():
            connection.close()

    def connection(self, name: str) -> fabric.Connection:
        """Give the open connection to a host; LabError says why there is none."""
        host = self.inventory.hosts[name]
        with self._locks[name]:
            connection = self._connections.get(name)
            if connection is None or not connection.is_connected:
                connection = connect(host, self.inventory)
                self._connections[name] = connection
        return connection

    def start(self, host: str, command: str, seconds: float) -> Started:
        """Start a shell command; on the host, `timeout` ends it after so many seconds."""
        return Started(self, host, command, seconds)

    def run(self, host: str, command: str, seconds: float = 60) -> Output:
        """Run a shell command and give what came of it, whatever its exit status."""
        return self.start(host, command, seconds).wait()

    def must(self, host: str, command: str, seconds: float = 60) -> str:
        """Run a shell command that has to succeed; give what it printed."""
        output = self.run(host, command, seconds)
        if output.exit_status:
            raise LabError(
                f"on {host}: `{command}` ended with {output.exit_status}: {output.stderr.strip()}"
            )
        return output.stdout

    def each(self, hosts: Iterable[str], work: Callable[[str], T]) -> Mapping[str, T | LabError]:
        """Do `work(host)` on all hosts at once; a host's LabError stands in its place."""

        def guarded(host: str) -> T | LabError:
            try:
                return work(host)
            except LabError as error:
                return error

        names = list(hosts)
        with ThreadPoolExecutor(max_workers=min(AT_ONCE, max(1, len(names)))) as pool:
            return dict(zip(names, pool.map(guarded, names), strict=True))


class Started:
    """A command under way on a host, read as it prints.

    It has a channel of its own on Fabric's connection. Fabric's `run` would do, were it not for
    megabytes of journal: it reads them sixty times slower.
    """

    def __init__(self, remote: Remote, host: str, command: str, seconds: float) -> None:
        """Use `Remote.start`. The shell's pid is its first line, so that it can be ended by it."""
        self.host = host
        self._remote = remote
        self._command = command
        self._login = remote.inventory.hosts[host].ssh_timeout
        self._deadline = time.monotonic() + seconds + LAST_WORDS + GRACE
        self._said = bytearray()
        limits = f"--kill-after={LAST_WORDS:g} {seconds:g}"
        bounded = f"exec timeout {limits} sh -c {shlex.quote(command)}"
        try:
            transport = remote.connection(host).transport
            self._channel = transport.open_session(timeout=self._login)
            self._channel.exec_command(f"echo $$; {bounded}")
        except (EOFError, OSError, paramiko.SSHException) as error:
            raise self._lost(error) from error
        self._pid: Future[int] = Future()
        self._readers = ThreadPoolExecutor(max_workers=2)
        self._stdout = self._readers.submit(self._read_stdout)
        self._stderr = self._readers.submit(self._channel.makefile_stderr("rb").read)
        self._readers.shutdown(wait=False)

    @property
    def heard(self) -> bool:
        """Whether it has printed something, or has ended."""
        return self._stdout.done() or bool(self._printed())

    def wait(self) -> Output:
        """Give what came of it when it ends; Lost if the host is lost."""
        left = max(0.0, self._deadline - time.monotonic())
        try:
            self._stdout.result(timeout=left)
            stderr = self._stderr.result(timeout=GRACE)
            status = self._channel.recv_exit_status()  # at hand, for both streams have ended
        except (EOFError, OSError, paramiko.SSHException) as error:
            raise self._lost(error) from error
        finally:
            self._channel.close()
        if status == SIGNALLED and not self._channel.get_transport().is_active():
            raise self._lost("the connection ended before the command did")
        return Output(self.host, status, self._printed(), stderr.decode())

    def stop(self) -> Output:
        """End it with SIGTERM, by its pid, and give what it printed."""
        self._remote.run(self.host, f"kill -TERM {self._pid.result(timeout=self._login)}")
        return self.wait()

    def _read_stdout(self) -> None:
        while piece := self._channel.recv(_PIECE):
            self._said += piece
            if not self._pid.done() and b"\n" in self._said:
                self._pid.set_result(int(self._said.partition(b"\n")[0]))
        if not self._pid.done():
            self._pid.set_result(0)

    def _printed(self) -> str:
        return self._said.partition(b"\n")[2].decode(errors="replace")

    def _lost(self, why: object) -> Lost:
        lost = Lost(
            f"lost {self.host} while it ran `{self._command}`: {why}",
            "see whether the host is up: fab status",
        )
        lost.said = self._printed()
        return lost


def connect(host: Host, inventory: Inventory) -> fabric.Connection:
    """Log in to a host; its key must be the one on record."""
    if inventory.is_down:
        raise LabError(f"cannot log in to {host.name}: the lab is down", "`fab up` boots its hosts")
    settings: dict[str, Any] = {
        "timeout": host.ssh_timeout,
        "banner_timeout": host.ssh_timeout,
        "auth_timeout": 3 * host.ssh_timeout,
    }
    if host.key is not None:
        settings |= {"key_filename": str(host.key), "allow_agent": False, "look_for_keys": False}
    connection = fabric.Connection(
        host.login_host,
        user=host.user,
        port=host.port,
        gateway=ssh.gateway(host) if inventory.machines == "real" else None,
        config=fabric.Config(overrides={"load_ssh_configs": False}),
        connect_kwargs=settings,
    )
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    connection.client.load_system_host_keys()
    if inventory.known_hosts.exists():
        connection.client.load_host_keys(str(inventory.known_hosts))
    try:
        connection.open()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise LabError(
            f"cannot log in to {host.name} ({host.user}@{host.login_host}:{host.port}): {error}",
            "is it up? `fab status` tells, `fab up` boots local hosts",
        ) from error
    return connection
