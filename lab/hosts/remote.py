"""Commands on the hosts: Fabric's connections, with host keys checked, many hosts at a time."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import fabric
import paramiko
from invoke.exceptions import CommandTimedOut

from lab.errors import LabError
from lab.hosts.inventory import Host, Inventory

T = TypeVar("T")

AT_ONCE = 64
"""Hosts that are worked on at the same time."""
CONNECT_TIMEOUT = 10
"""Seconds that a host has to accept a login."""


@dataclass(frozen=True)
class Output:
    """What a command on a host printed, and how it ended."""

    host: str
    exit_status: int
    stdout: str
    stderr: str


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
    """A command under way on a host."""

    def __init__(self, remote: Remote, host: str, command: str, seconds: float) -> None:
        """Use `Remote.start`. The shell's pid is its first line, so that it can be ended by it."""
        self.host = host
        self._remote = remote
        self._command = command
        bounded = f"exec timeout --kill-after=2 {seconds:g} sh -c {shlex.quote(command)}"
        self._promise = remote.connection(host).run(
            f"echo $$; {bounded}",
            hide=True,
            warn=True,
            in_stream=False,
            asynchronous=True,
            timeout=seconds + 10,
        )

    def wait(self) -> Output:
        """Give what came of it when it ends."""
        try:
            result = self._promise.join()
        except (CommandTimedOut, EOFError, OSError, paramiko.SSHException) as error:
            raise LabError(
                f"lost {self.host} while it ran `{self._command}`: {error}",
                "see whether the host is up: fab status",
            ) from error
        _, _, stdout = str(result.stdout).partition("\n")
        return Output(self.host, int(result.exited), stdout, str(result.stderr))

    def stop(self) -> Output:
        """End it with SIGTERM, by its pid, and give what it printed."""
        while not (match := re.match(r"(\d+)\n", "".join(self._promise.runner.stdout))):
            if not any(thread.is_alive() for thread in self._promise.runner.threads.values()):
                return self.wait()
            threading.Event().wait(0.02)
        self._remote.run(self.host, f"kill -TERM {match[1]}")
        return self.wait()


def connect(host: Host, inventory: Inventory) -> fabric.Connection:
    """Log in to a host; its key must be the one on record."""
    settings: dict[str, Any] = {"timeout": CONNECT_TIMEOUT, "banner_timeout": CONNECT_TIMEOUT}
    if host.key is not None:
        settings |= {"key_filename": str(host.key), "allow_agent": False, "look_for_keys": False}
    connection = fabric.Connection(
        host.login_host,
        user=host.user,
        port=host.port,
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
