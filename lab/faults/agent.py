"""The fault tools' part that runs on the hosts, sent there as one file when it is first needed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shlex
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.hosts.remote import Remote

_PACKAGE = "lab.faults.onhost"
_ROOT = Path(__file__).resolve().parents[2]
_HOME = "/run/distlab"
_ABSENT = 97
"""The exit status of a host that does not have the file yet."""
_SECONDS = 60.0


def ask(remote: Remote, host: str, *words: str) -> dict[str, Any]:
    """Have the host's tools do it; LabError says what they could not do, and why."""
    name, content = _archive()
    path = f"{_HOME}/{name}"
    call = f"sudo -n python3 {path} {shlex.join(words)}"
    command = f"test -e {path} || exit {_ABSENT}; {call}"
    output = remote.run(host, command, _SECONDS)
    if output.exit_status == _ABSENT:
        # Written beside its place and moved there: two who send it at once do no harm.
        remote.must(
            host,
            f"sudo -n mkdir -p {_HOME} && echo {content} | base64 -d | sudo -n tee {path}.$$"
            f" >/dev/null && sudo -n mv {path}.$$ {path}",
        )
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


@cache
def _archive() -> tuple[str, str]:
    """Give the file's name, which tells its content, and its content in base64."""
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
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"faults-{digest}.pyz", base64.b64encode(content).decode()


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(name), text)  # without a time, so that it is always the same
