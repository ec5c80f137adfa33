"""The fault tools' part that runs on the hosts, sent there as one file when it is first needed."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shlex
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.faults.sent import HOME, Sent, named
from lab.hosts.remote import Remote

_PACKAGE = "lab.faults.onhost"
_ROOT = Path(__file__).resolve().parents[2]
_ABSENT = 97
"""The exit status of a host that does not have all files yet."""
_SECONDS = 60.0


def ask(remote: Remote, host: str, *words: str, files: Sequence[Sent] = ()) -> dict[str, Any]:
    """Have the host's tools do it, once they and the files are there.

    LabError says what they could not do, and why.
    """
    tools = _tools()
    needed = (tools, *files)
    there = " && ".join(f"test -e {file.path}" for file in needed)
    call = f"sudo -n python3 {tools.path} {shlex.join(words)}"
    output = remote.run(host, f"{{ {there}; }} || exit {_ABSENT}; {call}", _SECONDS)
    if output.exit_status == _ABSENT:
        for file in needed:
            _send(remote, host, file)
        output = remote.run(host, call, _SECONDS)
    try:
        answer: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise LabError(
            f"on {host}: `{words[0]}` of the fault tools ended with {output.exit_status}: "
            f"{(output.stderr or output.stdout).strip()[-2000:]}",
            "it needs python3, systemd and a user who may use sudo without a password",
        ) from None
    if "trouble" in answer:
        raise LabError(f"on {host}: {answer['trouble']}")
    return answer


def _send(remote: Remote, host: str, file: Sent) -> None:
    # Written beside its place and moved there: two who send it at once do no harm.
    packed = base64.b64encode(gzip.compress(file.content, mtime=0)).decode()
    remote.must(
        host,
        f"sudo -n mkdir -p -m 755 {HOME} && echo {packed} | base64 -d | gunzip"
        f" | sudo -n install -m 644 /dev/stdin {file.path}.$$"
        f" && sudo -n mv {file.path}.$$ {file.path}",
    )


@cache
def _tools() -> Sent:
    """Give the tools as one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((_ROOT / _PACKAGE.replace(".", "/")).rglob("*.py")):
            _add(archive, str(path.relative_to(_ROOT)), path.read_text())
        for package in ("lab", "lab.faults"):
            _add(archive, f"{package.replace('.', '/')}/__init__.py", "")
        _add(
            archive,
            "__main__.py",
            f"import sys\nfrom {_PACKAGE}.__main__ import main\nsys.exit(main(sys.argv[1:]))\n",
        )
    return named("faults", ".pyz", buffer.getvalue())


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(name), text)  # without a time, so that it is always the same
