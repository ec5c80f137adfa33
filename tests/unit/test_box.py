"""The box of the virtual machines: its version follows its recipe; KVM is tried, not guessed."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from lab.box import kvm, pack, recipe
from lab.catalogue import ROOT
from lab.errors import LabError
from lab.hosts import image


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the box is made of, to change."""
    for part in ("lab/box", "lab/hosts", "roles"):
        shutil.copytree(ROOT / part, tmp_path / part)
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    monkeypatch.setattr(recipe, "HERE", tmp_path / "lab" / "box")
    monkeypatch.setattr(image, "HERE", tmp_path / "lab" / "hosts")
    return tmp_path


def test_the_version_is_the_same_wherever_the_checkout_is(files: Path) -> None:
    copied = recipe.version()
    assert files.exists()
    assert re.fullmatch(r"1\.\d+", copied)
    assert copied == recipe.version()


@pytest.mark.parametrize(
    "part",
    [
        "lab/box/finish.sh",
        "lab/box/grub.cfg",
        "lab/box/rootfs/etc/fstab",
        "lab/hosts/rootfs/etc/ssh/sshd_config.d/distlab.conf",
    ],
)
def test_every_file_of_it_counts(files: Path, part: str) -> None:
    before = recipe.version()
    with (files / part).open("a") as file:
        file.write("# changed\n")
    assert recipe.version() != before


def test_what_roles_declare_is_in_it(files: Path) -> None:
    before = recipe.version()
    role = files / "roles" / "more" / "vars"
    role.mkdir(parents=True)
    (role / "main.yml").write_text("__more_debian_packages: [jq]\n")
    assert "jq" in recipe.packages()
    assert recipe.version() != before


def test_what_only_packs_it_does_not_count(files: Path) -> None:
    before = recipe.version()
    (files / "lab" / "box" / "lifetime.py").write_text("")
    assert recipe.version() == before


def test_its_files_agree_with_those_of_the_embedded_hosts() -> None:
    """Whoever logs in may do all that the lab needs; nobody else may log in."""
    sudo = (recipe.HERE / "rootfs/etc/sudoers.d/vagrant").read_text()
    assert sudo.replace("vagrant", "lab") == (image.HERE / "rootfs/etc/sudoers.d/lab").read_text()


def test_another_processor_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(LabError, match="riscv64"):
        recipe.check_machine()


@pytest.fixture
def vagrant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Vagrant on the PATH that prints a file."""
    told = tmp_path / "told"
    program = tmp_path / "bin" / "vagrant"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec cat {told}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return told


def boxes(*found: tuple[str, str]) -> str:
    """What Vagrant prints of its boxes to programs."""
    lines = []
    for number, (name, version) in enumerate(found):
        lines += [f"{number},,box-name,{name}", f"{number},,box-provider,libvirt"]
        lines += [f"{number},,box-version,{version}"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("told", "known"),
    [
        (boxes((recipe.NAME, "1.5")), True),
        (boxes((recipe.NAME, "1.4"), (recipe.NAME, "1.5")), True),
        (boxes((recipe.NAME, "1.4"), ("generic/debian12", "1.5")), False),
        ("1,,ui,warn,There are no installed boxes!\n", False),
    ],
)
def test_it_is_known_by_name_and_version(vagrant: Path, told: str, *, known: bool) -> None:
    vagrant.write_text(told)
    assert pack.known("1.5") is known


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a device for KVM and a kernel, of which nothing is known yet."""
    device, kernel = tmp_path / "kvm", tmp_path / "vmlinuz"
    device.touch()
    kernel.touch()
    monkeypatch.setattr(kvm, "DEVICE", device)
    monkeypatch.setattr(kvm, "KERNELS", (tmp_path / "absent", kernel))
    monkeypatch.setattr(kvm, "KEPT", tmp_path / "box" / "kvm.json")
    monkeypatch.setattr(kvm, "PATIENCE", 1.0)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def emulator(machine: Path, script: str) -> None:
    """Put an emulator on the PATH that does this."""
    program = machine / kvm.EMULATOR
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "driver", "why"),
    [
        (f"print('boot'); print('{kvm.ALIVE}')", "kvm", "runs a kernel"),
        ("import time; time.sleep(60)", "qemu", "hangs"),
        ("print('failed to initialize KVM'); exit(1)", "qemu", "failed to initialize KVM"),
        ("exit(1)", "qemu", "nothing"),
    ],
)
def test_kvm_is_what_a_kernel_runs_in(machine: Path, script: str, driver: str, why: str) -> None:
    emulator(machine, script)
    answer = kvm.ask()
    assert answer.driver == driver
    assert why in answer.why


def test_the_answer_is_kept_until_the_next_boot(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator(machine, f"print('{kvm.ALIVE}')")
    first = kvm.ask()
    emulator(machine, "exit(1)")
    assert kvm.ask() == first
    booted = machine / "boot_id"
    booted.write_text("another\n")
    monkeypatch.setattr(kvm, "BOOT", booted)
    assert kvm.ask().driver == "qemu"


@pytest.mark.parametrize("kept", ["", "{", json.dumps({"key": 1})])
def test_a_damaged_answer_is_tried_again(machine: Path, kept: str) -> None:
    emulator(machine, f"print('{kvm.ALIVE}')")
    kvm.KEPT.parent.mkdir()
    kvm.KEPT.write_text(kept)
    assert kvm.ask().driver == "kvm"


def test_without_a_device_machines_are_emulated(machine: Path) -> None:
    device = machine / "kvm"
    device.unlink()
    assert kvm.ask() == kvm.Answer("qemu", f"there is no {device}")
