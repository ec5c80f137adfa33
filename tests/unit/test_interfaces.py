"""Interface definitions become packages: when they are stale, whole or not at all, errors told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab import interfaces
from lab.errors import LabError

IDL = "module Shop { interface Till { long total(); }; };\n"
SLICE = (
    '[["python:package:apps.shop.generated"]]\nmodule Shop { interface Till { int total(); } }\n'
)
SCHEMA = "table Till { total: long; }\nroot_type Till;\n"
COMPILERS = {
    "till.idl": ("omniidl", IDL),
    "till.ice": ("slice2py", SLICE),
    "till.fbs": ("flatc", SCHEMA),
}

every_language = pytest.mark.parametrize("name", COMPILERS)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A small tree of apps, with a pattern that has no definition yet."""
    (tmp_path / "apps" / "shop").mkdir(parents=True)
    return tmp_path / "apps" / "shop"


def define(shop: Path, name: str, more: str = "") -> None:
    compiler, text = COMPILERS[name]
    if compiler == "slice2py" and shutil.which(compiler) is None:
        # Debian's compiler, on the controller alone; its tests are of ice, which needs it built.
        pytest.skip("slice2py is missing: apt-get install zeroc-ice-compilers")
    (shop / name).write_text(text + more)


def test_a_tree_without_definitions_makes_nothing(shop: Path) -> None:
    assert interfaces.generate(shop.parent.parent) == []


@every_language
def test_a_package_is_made_once(shop: Path, name: str) -> None:
    define(shop, name)
    top = shop.parent.parent
    assert interfaces.generate(top) == [shop / "generated"]
    made = "".join(path.read_text() for path in (shop / "generated").rglob("*.py"))
    assert "class Till" in made
    assert "apps.shop.generated" in made or name == "till.fbs"  # which imports nothing of it
    assert interfaces.generate(top) == []
    assert sorted(path.name for path in shop.iterdir()) == sorted(["generated", name])


@every_language
def test_what_changed_is_made_anew(shop: Path, name: str) -> None:
    define(shop, name)
    top = shop.parent.parent
    interfaces.generate(top)
    define(shop, name, "// a remark\n")
    assert interfaces.generate(top) == [shop / "generated"]


@every_language
def test_a_wrong_definition_is_told_and_leaves_what_was_there(shop: Path, name: str) -> None:
    define(shop, name)
    top = shop.parent.parent
    interfaces.generate(top)
    before = (shop / "generated" / interfaces.STAMP).read_text()
    define(shop, name, "module Shop { nonsense\n")
    with pytest.raises(LabError, match=rf"(?s){COMPILERS[name][0]} finds {name} wrong:\n.*{name}"):
        interfaces.generate(top)
    assert (shop / "generated" / interfaces.STAMP).read_text() == before


def test_versions_of_a_schema_stand_side_by_side(shop: Path) -> None:
    for name in ("till.fbs", "till_v1.fbs"):
        (shop / name).write_text(SCHEMA)
    interfaces.generate(shop.parent.parent)
    made = {path.name for path in (shop / "generated").glob("*.py")}
    assert made == {"__init__.py", "till.py", "till_v1.py"}


def test_slice_says_its_package(shop: Path) -> None:
    (shop / "till.ice").write_text("module Shop { interface Till { int total(); } }\n")
    with pytest.raises(LabError, match="does not say into which package"):
        interfaces.generate(shop.parent.parent)


def test_a_missing_compiler_is_named(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "till.ice").write_text(SLICE)
    monkeypatch.setenv("PATH", str(shop))
    with pytest.raises(LabError, match="slice2py is missing"):
        interfaces.generate(shop.parent.parent)
