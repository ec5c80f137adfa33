"""The process that is a bad disk: mounted over the directory that it passes everything to.

It holds the directory open from before it is mounted over it, so what is in there stays where it
is, whatever becomes of this process. It is told what to do on a socket: one word a connection,
answered by one JSON object.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.faults.onhost.passthrough import Passthrough

NAME = "distlab-disk"
"""What the mount says it is."""
_LOOP_ENDED = 8
"""What libfuse ends with when a signal asks it to, after it has unmounted."""


def serve(options: Mapping[str, Any]) -> None:
    """Be the disk until unmounted; `options` are the directory, the socket, and what is wrong."""
    fuse = _binding(options["binding"])
    os.umask(0)  # the kernel has applied the caller's
    root = os.open(options["directory"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    disk = _Mounted(
        root,
        fuse.fuse_get_context,
        free=options["free"] if options["full"] else float("inf"),
        delay=options["delay"],
        forgets=options["forgets"],
    )
    disk.listen(Path(options["socket"]))
    try:
        fuse.FUSE(
            disk,
            options["directory"],
            foreground=True,
            fsname=NAME,
            subtype="distlab",
            allow_other=True,
            default_permissions=True,
            nosuid=True,
            nodev=True,
            use_ino=True,
            # Nothing that was forgotten may be remembered by the kernel.
            attr_timeout=0,
            entry_timeout=0,
            negative_timeout=0,
            ac_attr_timeout=0,
        )
    except RuntimeError as ended:
        if ended.args != (_LOOP_ENDED,):
            raise


class _Mounted(Passthrough):
    """The file system with what only a mounted one has."""

    def listen(self, path: Path) -> None:
        """Begin to take orders, once it is mounted."""
        path.unlink(missing_ok=True)
        self._orders = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._orders.bind(str(path))
        path.chmod(0o600)

    def init(self, _path: str) -> None:
        """Say that it is mounted: the kernel asks the first thing."""
        self._orders.listen()
        threading.Thread(target=self._take_orders, daemon=True).start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(os.environ["NOTIFY_SOCKET"])
            manager.send(b"READY=1")

    def _take_orders(self) -> None:
        known: Mapping[str, Callable[[], Any]] = {
            "state": self.state,
            "forget": self.forget,
            "mend": self.mend,
        }
        while True:
            connection, _ = self._orders.accept()
            with connection:
                word = connection.recv(64).decode()
                try:
                    answer = {"answer": known[word]()}
                except OSError as error:
                    answer = {"trouble": f"{word}: {error}"}
                connection.sendall(json.dumps(answer).encode())


def ask(path: Path, word: str) -> Any:
    """Have a disk do it; OSError if it is not there, or cannot."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(word.encode())
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.read() or "{}")
    if "answer" not in answer:
        raise OSError(answer.get("trouble", f"the disk ended while it was asked to {word}"))
    return answer["answer"]


def _binding(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("mfusepy", path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path} is no module")
    sys.dont_write_bytecode = True
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
