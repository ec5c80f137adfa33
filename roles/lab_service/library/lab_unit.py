#!/usr/bin/python
"""One systemd unit of the lab: its files, its life, and whether what runs is what is wanted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    AnsibleModule = Any
    UNITS = REVISION = record_path = record_text = running = shown = Any
else:
    from ansible.module_utils.basic import AnsibleModule
    from ansible.module_utils.lab_units import (
        REVISION,
        UNITS,
        record_path,
        record_text,
        running,
        shown,
    )

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
    default: ""
  revision:
    description: What identifies unit, options and code together; what runs is asked for it.
    type: str
    default: ""
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
author: distlab
"""

RETURN = r"""
restarted:
  description: Whether what ran was not what is wanted.
  type: bool
  returned: when present
removed:
  description: What was left of it.
  type: list
  returned: when absent
"""

OPTIONS = Path("/etc/distlab")
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


class Unit:
    """The unit on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Work out what is wanted."""
        wanted = module.params
        self.module = module
        self.name: str = wanted["name"]
        self.service = f"{self.name}.service"
        options = options_text(wanted["option_prefix"], wanted["options"])
        self.revision: str = wanted["revision"]
        self.unit_path = UNITS / self.service
        self.options_path = OPTIONS / f"{self.name}.env"
        self.wanted_files = {
            **{Path(path): (text, 0o600) for path, text in wanted["files"].items()},
            self.options_path: (f"{options}{REVISION}={self.revision}\n", 0o600),
            self.unit_path: (wanted["unit"].rstrip() + "\n", 0o644),
        }
        record = record_text(self.revision, self.wanted_files)
        self.wanted_files[record_path(self.name)] = (record, 0o600)

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
        (state,) = shown([self.name], self.module.run_command)
        enable = state.get("UnitFileState") != "enabled"
        runs = running(self.name, int(state.get("MainPID") or 0))
        restart = state.get("ActiveState") != "active" or runs != self.revision
        before = {str(path): path.read_text() if path.exists() else "" for path in files}
        after = {str(path): self.wanted_files[path][0] for path in files}
        if not self.module.check_mode:
            record_path(self.name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            for path in files:
                write(path, *self.wanted_files[path])
            if files or state.get("NeedDaemonReload") == "yes":
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
        # The unit goes last: where it is not, nothing is.
        others = [path for path in self.wanted_files if path != self.unit_path]
        left = [
            path for path in (*state, *others, self.unit_path) if path.exists() or path.is_symlink()
        ]
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
            "unit": {"type": "str", "default": ""},
            "revision": {"type": "str", "default": ""},
            "options": {"type": "dict", "default": {}},
            "option_prefix": {"type": "str", "default": ""},
            "files": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    unit = Unit(module)
    present = module.params["state"] == "present"
    result = unit.make_present() if present else unit.make_absent()
    module.exit_json(**result)


if __name__ == "__main__":
    main()
