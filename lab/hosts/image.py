"""The hosts' Debian image: built once, named by the digest of its recipe, shared by all hosts.

The recipe is everything that decides what the image is: the suite, the packages, the files under
`rootfs/`, `finish.sh` and the options below. A change of any gives another digest, hence another
image; nothing ever writes to a finished one. Where the packages come from is not part of it: that
is the mirrors of the machine's own apt sources where it runs Debian, or mmdebstrap's default.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError
from lab.hosts import state
from lab.hosts.command import run
from lab.hosts.spec import ImageSpec
from lab.hosts.state import Report

HERE = Path(__file__).parent

# Everything else comes from roles (see declared_packages).
BASE_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "libnss-systemd",  # gives the users of DynamicUser= a name
    "dbus",  # lets users other than root ask systemctl
    "openssh-server",
    "sudo",
    "python3",
    "python3-apt",  # Ansible's apt module asks it what is installed
    "iproute2",
    "nftables",
    "iputils-ping",
    "procps",
    "less",
    "curl",
    "netcat-openbsd",
)

# Nobody reads manuals inside a host; this is a third of a small Debian.
_LEFT_OUT = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/i18n/*",
    "/usr/share/lintian/*",
    "/usr/share/bug/*",
)
_OPTIONS = (
    "--variant=minbase",
    "--format=directory",
    *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
    "--dpkgopt=force-unsafe-io",
    # Java's packages link their manuals there, left out or not.
    '--essential-hook=mkdir --parents "$1/usr/share/man/man1"',
    # apt's own user cannot reach the place where images are built (see state.prepare).
    '--aptopt=APT::Sandbox::User "root"',
)

_POCKETS = ("", "updates", "security")


def declared_packages(roles: Path, suite: str) -> tuple[str, ...]:
    """The Debian packages that roles need on a host of this suite, sorted.

    A role declares them in `vars/main.yml` as `__<role>_debian_packages`, a list, or where suites
    differ a list for each suite, and installs that very list with the apt module: on a VM the
    module fetches them, here they are in the image. Where it says that it cannot run
    (`__<role>_cannot_run_on`, see `lab.catalogue`), its packages are not wanted.
    """
    found: set[str] = set()
    for file in sorted(roles.glob("*/vars/main.yml")):
        role = file.parent.parent.name
        key = f"__{role}_debian_packages"
        variables = yaml.safe_load(file.read_text()) or {}
        for name in variables:
            if name.endswith("_debian_packages") and name != key:
                raise LabError(f"{file} declares packages as `{name}`", f"call the list {key}")
        if suite in variables.get(f"__{role}_cannot_run_on", {}):
            continue
        packages = variables.get(key, [])
        if isinstance(packages, dict):
            packages = packages.get(suite)
        if not isinstance(packages, list) or not all(isinstance(item, str) for item in packages):
            raise LabError(
                f"{key} in {file} is no list of package names for {suite}",
                f"{key}: [jq, wrk], or such a list for each suite",
            )
        found.update(packages)
    return tuple(sorted(found))


def wanted_packages(variables: Mapping[str, Any]) -> tuple[str, ...]:
    """The Debian packages that an inventory wants besides those of the roles: `lab_packages`."""
    packages = variables.get("lab_packages", [])
    if not isinstance(packages, list) or not all(isinstance(item, str) for item in packages):
        raise LabError(f"lab_packages is no list of names: {packages!r}", "lab_packages: [tcpdump]")
    return tuple(str(package) for package in packages)


def digest(spec: ImageSpec) -> str:
    """The name of the image that `spec` describes: a short hash over its recipe."""
    recipe = {
        "suite": spec.suite,
        "packages": _packages(spec),
        "options": _OPTIONS,
        "files": {
            str(file.relative_to(HERE)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in [HERE / "finish.sh", *sorted((HERE / "rootfs").rglob("*"))]
            if file.is_file()
        },
    }
    text = json.dumps(recipe, sort_keys=True)
    return f"{spec.suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _packages(spec: ImageSpec) -> list[str]:
    return sorted({*BASE_PACKAGES, *spec.packages})


def path(image_digest: str) -> Path:
    """Where the image's root directory is."""
    return state.IMAGES / image_digest


def ensure(spec: ImageSpec, lock: int, report: Report) -> str:
    """Build the image unless it is there; its digest. `lock` is the held lock on all images."""
    wanted = digest(spec)
    if not path(wanted).exists():
        _remove_unused(spec.suite)
        _build(spec, wanted, lock, report)
    return wanted


def _remove_unused(suite: str) -> None:
    """Images of the suite that no lab uses, and builds of it that were interrupted."""
    used = state.images_in_use()
    for image in state.IMAGES.iterdir():
        if image.name.removeprefix(".").startswith(f"{suite}-") and image.name not in used:
            shutil.rmtree(image)


def _build(spec: ImageSpec, wanted: str, lock: int, report: Report) -> None:
    """Build beside the final place and move it there, so that an image is whole or absent."""
    partial = state.IMAGES / f".{wanted}.partial"
    report(f"building the hosts' image {wanted} (once; a minute or two)")
    bootstrap(
        spec.suite, _packages(spec), partial, finish=HERE / "finish.sh", report=report, keep=(lock,)
    )
    partial.rename(path(wanted))
    report(f"built the hosts' image {wanted}")


def bootstrap(
    suite: str,
    packages: Iterable[str],
    target: Path,
    *,
    finish: Path,
    report: Report,
    keep: Sequence[int] = (),
) -> None:
    """Put a Debian into the directory `target`; `finish` is a program that gets it at the end.

    Whoever kills this process ends the build as well, and with it every mount it made; until its
    last process is gone it has the files `keep` open, hence holds their locks. LabError with what
    mmdebstrap said last if it fails.
    """
    command = [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("mmdebstrap", "--mode=root", *_OPTIONS, f"--include={','.join(packages)}"),
        f"--customize-hook={finish}",
        *(suite, str(target), *_mirrors(suite)),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=keep,
    ) as build:
        said = list(_told(build, report))
    if build.returncode != 0:
        raise LabError(
            f"mmdebstrap could not build {target}:\n" + "".join(said[-15:]),
            "see the lines above; most often a mirror is out of reach (is there a network or a "
            "proxy?) or a package of some role does not exist in this suite",
        )


def _told(build: subprocess.Popen[str], report: Report) -> Iterator[str]:
    """Every line of the build; mmdebstrap's own (`I: …`) are its progress."""
    assert build.stdout is not None  # noqa: S101  (it was asked for)
    for line in build.stdout:
        if line.startswith("I: "):
            report(f"  {line[3:].strip()}")
        yield line


def _mirrors(suite: str) -> list[str]:
    """This machine's own mirrors of Debian, which have every suite; none: mmdebstrap's default."""
    targets = ["apt-get", "indextargets", "Created-By: Packages", "Origin: Debian"]
    try:
        told = run([*targets, "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"])
    except LabError:  # not a machine of Debian's family
        return []
    found = []
    for line in dict.fromkeys(told.splitlines()):
        uri, codename, component = line.split()
        _, dash, pocket = codename.partition("-")
        if component == "main" and pocket in _POCKETS:
            found.append(f"deb {uri} {suite}{dash}{pocket} main")
    return found
