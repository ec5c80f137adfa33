"""Programs of this machine on the hosts, which have no way to fetch them: with their libraries."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import threading
import time
from pathlib import Path

from lab.errors import LabError
from lab.hosts.command import run
from lab.hosts.remote import Remote, Started

_THERE = "/tmp/distlab-benchmarks"  # noqa: S108  on hosts that nobody else uses
_PATIENCE = 10.0


class Tools:
    """Some programs, put on a host when it first needs them."""

    def __init__(self, remote: Remote, *programs: str) -> None:
        """LabError if a program is not installed here."""
        self.remote = remote
        self._archive = _archive(programs)
        self._equipped: set[str] = set()

    def pair(self, server_group: str, client_group: str) -> tuple[str, str]:
        """Give a host of each group, two different ones."""
        groups = self.remote.inventory.groups
        server = groups[server_group][0]
        return server, next(host for host in groups[client_group] if host != server)

    def must(self, host: str, command: str, seconds: float) -> str:
        """Run a program on a host; give what it printed."""
        return self.remote.must(host, self._line(host, command), seconds)

    def serve(self, host: str, command: str, port: int, *, tcp: bool) -> Serving:
        """Start a program on a host; it listens when this returns."""
        line = f"echo $$ > {_THERE}/pid; exec {self._line(host, command)}"
        return Serving(self.remote, self.remote.start(host, line, 300), port, tcp=tcp)

    def _line(self, host: str, command: str) -> str:
        if host not in self._equipped:
            self.remote.must(host, f"mkdir -p {_THERE}")
            self.remote.connection(host).put(io.BytesIO(self._archive), f"{_THERE}/tools.tar")
            self.remote.must(host, f"tar -C {_THERE} -xf {_THERE}/tools.tar")
            self._equipped.add(host)
        # By the loader that came along: the host's libraries may be older than ours.
        return f"{_THERE}/loader --library-path {_THERE} {_THERE}/{command}"


class Serving:
    """A server under way on a host."""

    def __init__(
        self,
        remote: Remote,
        started: Started,
        port: int,
        *,
        tcp: bool,
        pid: str = f"{_THERE}/pid",
    ) -> None:
        """Wait until it listens; LabError if it does not. Its process is in the file `pid`."""
        self._pid = pid
        self._remote = remote
        self._started = started
        listening = f"ss --no-header --numeric --listening {'--tcp' if tcp else '--udp'}"
        deadline = time.monotonic() + _PATIENCE
        while f":{port} " not in remote.must(started.host, listening):
            if time.monotonic() > deadline:
                raise LabError(f"{self.stop()}\nnobody listens to port {port} of {started.host}")
            threading.Event().wait(0.05)

    def stop(self) -> str:
        """End it as Ctrl-C would; give what it printed."""
        self._remote.must(self._started.host, f"kill -INT $(cat {self._pid})")
        return self._started.wait().stdout


def must_match(pattern: str, text: str) -> tuple[str, ...]:
    """Give the groups of a pattern that a program's output must contain."""
    found = re.search(pattern, text)
    if found is None:
        raise LabError(f"this output has nothing like {pattern}:\n{text}")
    return found.groups()


def _archive(programs: tuple[str, ...]) -> bytes:
    """Give a tar of programs, all libraries that they load, and the loader itself."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, path in {k: v for p in programs for k, v in _closure(p).items()}.items():
            tar.add(path.resolve(), name)
    return packed.getvalue()


def _closure(program: str) -> dict[str, Path]:
    path = shutil.which(program)
    if path is None:
        raise LabError(f"{program} is not installed here", "make bench installs what it needs")
    told = run(["ldd", path])
    libraries = {name: Path(file) for name, file in re.findall(r"(\S+) => (/\S+)", told)}
    (loader,) = re.findall(r"^\s+(/\S*/ld-\S+)", told, re.MULTILINE)
    return {program: Path(path), "loader": Path(loader), **libraries}
