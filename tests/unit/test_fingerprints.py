"""Fingerprints decide about restarts: they change with what a unit runs, and with nothing else."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from lab.catalogue import ROOT, patterns
from lab.errors import LabError
from lab.fingerprints import Imports, fingerprints, needed, reached
from lab.plant import VARIABLE, planted
from lab.wheelhouse import LOCK


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """A small tree of apps: `cache` is composed of `election`."""
    for name, source in {
        "kit/events.py": "",
        "kit/checkers/order.py": "import apps.kit.events\n",
        "election/__main__.py": "import apps.election.core\n",
        "election/core.py": "from apps.kit.events import Events\n",
        "cache/__main__.py": "worker = 'apps.cache.server'\n",
        "cache/server.py": "from apps.election.core import Bully\nimport apps.kit.events\n",
        "echo/__main__.py": "def serve():\n    from apps.echo.server import serve\n",
        "echo/server.py": "from apps.kit import events\n",
        "echo/greeting.txt": "hello\n",
        "echo/claims.py": "import apps.kit.checkers.order\n",
        "echo/demo.py": "import apps.echo.claims\n",
    }.items():
        path = tmp_path / "apps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source)
    return tmp_path / "apps"


def found(top: Path, lock: bytes = b"") -> dict[str, str]:
    """Give the fingerprints of a tree, as deploys find them that keep what files import."""
    imports = Imports(top / "imports.json")
    result = fingerprints(top, lock, imports)
    imports.keep()
    assert fingerprints(top, lock, Imports(top / "nothing is kept here")) == result
    return result


def changed(apps: Path, name: str) -> set[str]:
    """Edit a file; give the patterns whose fingerprint changed."""
    before = found(apps.parent)
    with (apps / name).open("a") as file:
        file.write("# edited\n")
    after = found(apps.parent)
    return {pattern for pattern in after if after[pattern] != before[pattern]}


def test_a_pattern_changes_alone(apps: Path) -> None:
    assert changed(apps, "echo/server.py") == {"echo"}


def test_a_pattern_changes_with_what_it_is_composed_of(apps: Path) -> None:
    assert changed(apps, "election/core.py") == {"election", "cache"}


def test_the_kit_changes_all(apps: Path) -> None:
    assert changed(apps, "kit/events.py") == {"election", "cache", "echo"}


def test_the_lock_changes_all(apps: Path) -> None:
    before, after = found(apps.parent, b"one"), found(apps.parent, b"another")
    assert all(before[pattern] != after[pattern] for pattern in ("election", "cache", "echo"))


@pytest.mark.parametrize("text", ["", "[]", "[1]", '{"cut off', "\0"])
def test_what_was_kept_may_be_broken(apps: Path, text: str) -> None:
    true = found(apps.parent)
    (apps.parent / "imports.json").write_text(text)
    assert found(apps.parent) == true


def test_what_is_no_longer_there_is_kept_no_longer(apps: Path) -> None:
    found(apps.parent)
    before = (apps.parent / "imports.json").read_text()
    assert changed(apps, "echo/server.py") == {"echo"}
    after = (apps.parent / "imports.json").read_text()
    assert len(json.loads(after)) == len(json.loads(before))
    assert after != before


@pytest.mark.parametrize("name", ["__init__.py", "greeting.txt"])
def test_a_package_is_part_of_a_unit_with_its_data(apps: Path, name: str) -> None:
    assert changed(apps, f"echo/{name}") == {"echo"}


@pytest.mark.parametrize("name", ["echo/demo.py", "echo/claims.py", "kit/checkers/order.py"])
def test_what_the_controller_alone_imports_is_no_part_of_a_unit(apps: Path, name: str) -> None:
    assert changed(apps, name) == set()


def test_no_unit_imports_what_judges_it() -> None:
    judges = {"demo.py", "history.py", "causality.py", "faults.py"}
    needs = partial(needed, top=ROOT, imports=Imports(ROOT / ".lab" / "build" / "imports.json"))
    for pattern in patterns():
        files = reached(f"apps.{pattern.name}.__main__", ROOT, needs)
        assert ROOT / "apps" / "kit" / "events.py" in files
        shared = {path for path in files if path.is_relative_to(ROOT / "apps" / "kit")}
        assert not judges.intersection(path.name for path in shared)
        assert not [path for path in shared if "checkers" in path.parts]
        own = {path.name for path in files - shared}
        assert not {"claims.py", "demo.py"}.intersection(own)


def test_what_is_made_from_a_definition_counts_by_its_source(apps: Path) -> None:
    made = apps / "echo" / "generated"
    made.mkdir()
    (apps / "echo" / "server.py").write_text("from apps.echo.generated import stub\n")
    (apps / "echo" / "echo.idl").touch()
    for path in (made / "__init__.py", made / "stub.py", made / "made-from"):
        path.touch()
        assert changed(apps, str(path.relative_to(apps))) == set()
    assert changed(apps, "echo/echo.idl") == {"echo"}


def test_a_planted_bug_changes_its_pattern_alone_and_a_copy_of_it(
    apps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (apps.parent / "pyproject.toml").touch()
    monkeypatch.delenv(VARIABLE, raising=False)
    with planted(apps.parent) as top:
        assert top == apps.parent
    true = found(apps.parent)
    patch = tmp_path / "bug.patch"
    patch.write_text(
        "--- a/apps/echo/server.py\n+++ b/apps/echo/server.py\n@@ -1 +1 @@\n"
        "-from apps.kit import events\n+from apps.kit import events as wrong\n"
    )
    monkeypatch.setenv(VARIABLE, str(patch))
    with planted(apps.parent) as top:
        assert top != apps.parent
        assert (top / "apps/echo/server.py").read_text() == "from apps.kit import events as wrong\n"
        wrong = found(top)
    assert not top.exists()
    assert found(apps.parent) == true
    assert {name for name in true if wrong[name] != true[name]} == {"echo"}


def test_a_bug_that_does_not_fit_is_refused(
    apps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (apps.parent / "pyproject.toml").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.patch"))
    with pytest.raises(LabError, match=r"none\.patch cannot be applied"), planted(apps.parent):
        pass


def test_every_pattern_has_a_fingerprint(tmp_path: Path) -> None:
    names = fingerprints(ROOT, LOCK.read_bytes(), Imports(tmp_path / "none"))
    assert set(names) == {pattern.name for pattern in patterns()}
