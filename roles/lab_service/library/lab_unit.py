#!/usr/bin/python
"""One systemd unit of the lab: its files, its life, and whether what runs is what is wanted."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    AnsibleModule = Any
else:
    from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: lab_unit
short_description: A unit of the lab is present and runs what is wanted, or is gone
description:
  - Writes the unit and its options, enables it, and restarts it when what runs is not what is
    wanted. That is asked of the running process itself, so a deploy that was killed between
    writing and restarting is made good by the next one.
  - Returns when the unit is ready (its C(Type) decides), or fails with the end of its journal.
options:
  name:
    description: The unit's name without its suffix.
    type: str
    required: true
  state:
    description: Whether it is there.
    type: str
    choices: [present, absent]
    default: present
  unit:
    description: The text of the unit.
    type: str
    required: true
  options:
    description: The options file's values by option name.
    type: dict
    default: {}
  option_prefix:
    description: What each variable's name begins with.
    type: str
    default: ""
  files:
    description: The texts of further files that only this unit reads, by path; root's alone.
    type: dict
    default: {}
  code:
    description: The fingerprint of the code that it runs.
    type: str
    default: ""
author: distlab
"""

RETURN = r"""
revision:
  description: What identifies unit, options and code together.
  type: str
  returned: always
"""

UNITS = Path("/etc/systemd/system")
OPTIONS = Path("/etc/distlab")
REVISION = "DISTLAB_REVISION"
JOURNAL_LINES = 30


def options_text(prefix: str, options: dict[str, Any]) -> str:
    """Give the lines of an EnvironmentFile; the values are quoted as systemd.exec(5) wants."""
    lines = []
    for name, value in sorted(options.items()):
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        quoted = (
            text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        )
        lines.append(f'{prefix}{name.upper()}="{quoted}"')
    return "\n".join(lines) + "\n" if lines else ""


def running_revision(name: str, main_pid: int) -> str:
    """Ask what runs for its revision: the main process, or the stamp of a unit that has none."""
    try:
        if not main_pid:
            return Path(f"/run/{name}.revision").read_text().strip()
        environment = Path(f"/proc/{main_pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
    pairs = (entry.partition("=") for entry in environment.split("\0"))
    return next((value for key, _, value in pairs if key == REVISION), "")


class Unit:
    """The unit on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Work out what is wanted."""
        wanted = module.params
        self.module = module
        self.name: str = wanted["name"]
        self.service = f"{self.name}.service"
        options = options_text(wanted["option_prefix"], wanted["options"])
        files = dict(sorted(wanted["files"].items()))
        whole = "\0".join((wanted["unit"], options, wanted["code"], *files, *files.values()))
        self.revision = hashlib.sha256(whole.encode()).hexdigest()[:16]
        self.unit_path = UNITS / self.service
        self.options_path = OPTIONS / f"{self.name}.env"
        self.wanted_files = {
            **{Path(path): (text, 0o600) for path, text in files.items()},
            self.options_path: (f"{options}{REVISION}={self.revision}\n", 0o600),
            self.unit_path: (wanted["unit"].rstrip() + "\n", 0o644),
        }

    def systemctl(self, *words: str) -> tuple[int, str]:
        """Run systemctl; give its status and what it printed."""
        status, out, err = self.module.run_command(["systemctl", *words])
        return status, out + err

    def must(self, *words: str) -> None:
        """Run systemctl; if it fails, fail with the end of the unit's journal."""
        status, said = self.systemctl(*words)
        if status == 0:
            return
        _, journal, _ = self.module.run_command(
            [
                "journalctl",
                "-u",
                self.service,
                "-n",
                str(JOURNAL_LINES),
                "--no-pager",
                "-o",
                "short",
            ]
        )
        self.module.fail_json(
            msg=f"systemctl {' '.join(words)} failed: {said.strip()}\n"
            f"The end of its journal:\n{journal.strip()}\n"
            f"Mend the cause (options: {self.options_path}) and deploy again."
        )

    def shown(self) -> dict[str, str]:
        """Give the unit's properties that matter here."""
        _, out = self.systemctl(
            "show", self.service, "-p", "ActiveState,UnitFileState,MainPID,NeedDaemonReload"
        )
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def differing_files(self) -> list[Path]:
        """Give the files that are not as wanted."""
        return [
            path
            for path, (text, mode) in self.wanted_files.items()
            if not path.exists()
            or path.read_text() != text
            or (path.stat().st_mode & 0o777) != mode
        ]

    def make_present(self) -> dict[str, Any]:
        """Bring it about that the unit runs as wanted; give what was done."""
        files = self.differing_files()
        shown = self.shown()
        enable = shown.get("UnitFileState") != "enabled"
        runs = running_revision(self.name, int(shown.get("MainPID") or 0))
        restart = shown.get("ActiveState") != "active" or runs != self.revision
        before = {str(path): path.read_text() if path.exists() else "" for path in files}
        after = {str(path): self.wanted_files[path][0] for path in files}
        if not self.module.check_mode:
            self.options_path.parent.mkdir(mode=0o755, exist_ok=True)
            for path in files:
                write(path, *self.wanted_files[path])
            if files or shown.get("NeedDaemonReload") == "yes":
                self.must("daemon-reload")
            if enable:
                self.must("enable", "--quiet", self.service)
            if restart:
                self.systemctl("reset-failed", self.service)
                self.must("restart", self.service)
        return {
            "changed": bool(files) or enable or restart,
            "restarted": restart,
            "diff": [
                {
                    "before_header": path,
                    "after_header": path,
                    "before": before[path],
                    "after": after[path],
                }
                for path in after
            ],
        }

    def make_absent(self) -> dict[str, Any]:
        """Bring it about that nothing of the unit is left, its state included."""
        state = [Path(f"/var/lib/private/{self.name}"), Path(f"/var/lib/{self.name}")]
        left = [p for p in (*self.wanted_files, *state) if p.exists() or p.is_symlink()]
        if left and not self.module.check_mode:
            if self.unit_path.exists():
                self.must("disable", "--now", "--quiet", self.service)
            for path in left:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            self.must("daemon-reload")
            self.systemctl("reset-failed", self.service)
        return {"changed": bool(left), "removed": [str(path) for path in left]}


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file atomically; it never exists with a wider mode."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=mode)
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.replace(path)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "unit": {"type": "str", "required": True},
            "options": {"type": "dict", "default": {}},
            "option_prefix": {"type": "str", "default": ""},
            "files": {"type": "dict", "default": {}},
            "code": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    unit = Unit(module)
    present = module.params["state"] == "present"
    result = unit.make_present() if present else unit.make_absent()
    module.exit_json(revision=unit.revision, **result)


if __name__ == "__main__":
    main()
