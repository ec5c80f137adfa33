#!/usr/bin/python
"""What a host says of itself and of the lab on it, in one round trip."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    AnsibleModule = Any
    standing = Any
else:
    from ansible.module_utils.basic import AnsibleModule
    from ansible.module_utils.lab_units import standing

DOCUMENTATION = r"""
module: lab_facts
short_description: What the lab's roles need to know of a host, to leave alone what is as wanted
description:
  - Tells what the host is, what is installed of the lab, and which revision of each of its units
    runs. A unit that differs from what was written of it has none.
  - Changes nothing.
options:
  name:
    description: The host's name in the lab.
    type: str
    required: true
  installed:
    description: The file in which lab_code tells what it installed.
    type: path
    required: true
author: distlab
"""

RETURN = r"""
ansible_facts:
  description: Under C(lab), what is known of the host.
  type: dict
  returned: always
  contains:
    lab:
      description: >-
        Python and machine (platform), Debian's release (empty if it is a relative), whether it is a
        container, names, code, units.
      type: dict
      returned: always
"""

HOSTS = Path("/etc/hosts")
BEGIN, END = "# BEGIN distlab\n", "# END distlab\n"


def names(own: str) -> str:
    """Give the lab's part of /etc/hosts.

    Nothing if it is not there, whole and readable by all, or if its own name is a loopback address.
    """
    if (HOSTS.stat().st_mode & 0o777) != 0o644:
        return ""
    text = HOSTS.read_text()
    _, _, rest = text.partition(BEGIN)
    block, end, _ = rest.partition(END)
    loopback = (line.split() for line in text.splitlines() if line.startswith("127."))
    hidden = any(own in named and "localhost" not in named for _, *named in loopback)
    return block if end and not hidden else ""


def installed(path: Path) -> dict[str, str]:
    """Give what lab_code says that it installed; nothing before it finished."""
    try:
        told: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told


def debian() -> str:
    """Give the release of Debian: `bookworm`; nothing if this is a relative of it."""
    told = platform.freedesktop_os_release()
    return told.get("VERSION_CODENAME", "") if told["ID"] == "debian" else ""


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "installed": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    in_container, _, _ = module.run_command(["systemd-detect-virt", "--container", "--quiet"])
    facts = {
        "platform": [platform.python_version(), platform.machine()],
        "debian": debian(),
        "container": in_container == 0,
        "names": names(module.params["name"]),
        "installed": installed(Path(module.params["installed"])),
        "units": standing(module.run_command),
    }
    module.exit_json(changed=False, ansible_facts={"lab": facts})


if __name__ == "__main__":
    main()
