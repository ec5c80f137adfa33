"""The image's name follows its recipe, and roles add to it in one way only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.hosts import image
from lab.hosts.spec import ImageSpec

SPEC = ImageSpec("bookworm", ("jq", "wrk"))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recipe's files, to change."""
    shutil.copytree(image.HERE, tmp_path / "hosts", ignore=shutil.ignore_patterns("*.py"))
    monkeypatch.setattr(image, "HERE", tmp_path / "hosts")
    return tmp_path / "hosts"


def test_the_digest_is_the_same_wherever_the_checkout_is(recipe: Path) -> None:
    copied = image.digest(SPEC)
    assert recipe.exists()
    assert copied == image.digest(SPEC)
    assert copied.startswith("bookworm-")


@pytest.mark.parametrize(
    "other", [ImageSpec("trixie", SPEC.packages), ImageSpec("bookworm", ("jq",))]
)
def test_suite_and_packages_count(other: ImageSpec) -> None:
    assert image.digest(other) != image.digest(SPEC)


def test_packages_that_are_there_anyway_do_not_count() -> None:
    assert image.digest(ImageSpec("bookworm", ("jq", "sudo", "wrk"))) == image.digest(SPEC)


@pytest.mark.parametrize("change", ["finish.sh", "rootfs/etc/sudoers.d/lab", "rootfs/etc/new"])
def test_every_file_of_the_recipe_counts(recipe: Path, change: str) -> None:
    before = image.digest(SPEC)
    with (recipe / change).open("a") as file:
        file.write("# changed\n")
    assert image.digest(SPEC) != before


def declare(roles: Path, role: str, text: str) -> None:
    (roles / role / "vars").mkdir(parents=True)
    (roles / role / "vars" / "main.yml").write_text(text)


def test_roles_declare_packages(tmp_path: Path) -> None:
    declare(tmp_path, "mosquitto", "__mosquitto_debian_packages: [mosquitto, jq]\n")
    declare(tmp_path, "zookeeper", "__zookeeper_debian_packages:\n  - zookeeperd\n  - jq\n")
    declare(tmp_path, "plain", "__plain_port: 1\n")
    declare(tmp_path, "empty", "---\n")
    assert image.declared_packages(tmp_path, "bookworm") == ("jq", "mosquitto", "zookeeperd")


def test_packages_may_differ_by_suite_and_what_cannot_run_wants_none(tmp_path: Path) -> None:
    by_suite = "{bookworm: [libfuse3-3], trixie: [libfuse3-4]}"
    declare(tmp_path, "lab_host", f"__lab_host_debian_packages: {by_suite}\n")
    cannot = "__metrics_cannot_run_on: {trixie: it has no such package}\n"
    declare(tmp_path, "metrics", f"__metrics_debian_packages: [influxdb]\n{cannot}")
    assert image.declared_packages(tmp_path, "bookworm") == ("influxdb", "libfuse3-3")
    assert image.declared_packages(tmp_path, "trixie") == ("libfuse3-4",)
    with pytest.raises(LabError, match="no list of package names for sid"):
        image.declared_packages(tmp_path, "sid")


def test_a_machine_with_debians_mirrors_has_those_of_every_suite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources = [
        "http://mirror/debian/ bookworm main",
        "http://mirror/debian/ bookworm non-free",
        "http://mirror/debian/ bookworm-backports main",
        "http://mirror/security/ bookworm-security main",
    ]
    monkeypatch.setattr(image, "run", lambda _: "\n".join(sources))
    assert image._mirrors("trixie") == [
        "deb http://mirror/debian/ trixie main",
        "deb http://mirror/security/ trixie-security main",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("mosquitto_debian_packages: [jq]\n", "call the list __mosquitto_debian_packages"),
        ("__mosquitto_debian_packages: jq\n", "no list of package names"),
        ("__mosquitto_debian_packages: [1]\n", "no list of package names"),
    ],
)
def test_a_declaration_that_would_be_overlooked_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    declare(tmp_path, "mosquitto", text)
    with pytest.raises(LabError) as refused:
        image.declared_packages(tmp_path, "bookworm")
    assert complaint in str(refused.value)


def test_an_inventory_may_want_more_packages() -> None:
    assert image.wanted_packages({}) == ()
    assert image.wanted_packages({"lab_packages": ["tcpdump", "strace"]}) == ("tcpdump", "strace")
    for wrong in ("tcpdump", [1], {"tcpdump": True}):
        with pytest.raises(LabError, match="no list of names"):
            image.wanted_packages({"lab_packages": wrong})
