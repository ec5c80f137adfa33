"""Deploying: ansible-playbook with progress, nothing that plain Ansible could not do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.catalogue import ROOT, Pattern
from lab.errors import LabError


def play(
    playbook: str, inventory: Path, chosen: Sequence[Pattern] = (), *, check: bool = False
) -> None:
    """Run a playbook of playbooks/ on an inventory, for these patterns or all.

    Ansible's own output is the progress: a line per play, and what changed or failed. LabError if
    it did not succeed.
    """
    tool = Path(sys.executable).with_name("ansible-playbook")
    command = [str(tool), "-i", str(inventory), str(ROOT / "playbooks" / playbook)]
    if chosen:
        names = ",".join(pattern.name for pattern in chosen)
        command += ["--tags", names, "--limit", names]  # on their hosts alone
    if check:
        command += ["--check", "--diff"]
    quiet = {"ANSIBLE_DISPLAY_OK_HOSTS": "False", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "False"}
    config = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet | config, check=False)
    if done.returncode:
        raise LabError(
            f"{playbook} failed on {inventory} (ansible-playbook ended with {done.returncode})",
            "the failed task above says why; mend it and run the same command again",
        )
