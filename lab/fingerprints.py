"""Fingerprints: for each pattern, the digest of what its units run. They decide about restarts.

What a unit runs is all code that its pattern's commands import (its own, the kit's, that of
patterns it is composed of), the data beside it, and the locked libraries. Claims, checkers and
demos are imported by the controller alone.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

from lab.interfaces import GENERATED


def digest(parts: Iterable[bytes]) -> str:
    """Give a short digest of all parts and their boundaries."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:16]


def code_files(top: Path) -> list[Path]:
    """Give the files below `top` that run or are read on a host, as people wrote them."""
    made = {"__pycache__", GENERATED}
    return sorted(
        path
        for path in top.rglob("*")
        if path.is_file() and not made.intersection(path.parts) and path.suffix != ".md"
    )


def digest_of_files(top: Path, files: Iterable[Path], *more: bytes) -> str:
    """Give the digest of the files' contents, and of their names below `top`."""
    named = ((str(path.relative_to(top)), path) for path in files)
    parts = (part for name, path in named for part in (name.encode(), path.read_bytes()))
    return digest((*parts, *more))


def imported(source: bytes) -> set[str]:
    """Give the modules of apps/ that a file's text names, in an import or in a string."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named.add(node.value)  # what is loaded by its name; most strings name no file
    return {name for name in named if name.startswith("apps.")}


class Imports:
    """What files import, kept from one deploy to the next by the digests of their texts."""

    def __init__(self, kept: Path) -> None:
        """`kept` is written anew by `keep`; where it is missing or broken, all is parsed again."""
        self._kept = kept
        self._rules = Path(__file__).read_bytes()
        self._known: dict[str, list[str]] = {}
        self._used: dict[str, list[str]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._known = dict(json.loads(kept.read_text()))

    def of(self, path: Path) -> list[str]:
        """Give the modules of apps/ that a file names."""
        source = path.read_bytes()
        key = digest((source, self._rules))
        if key not in self._used:
            known = self._known.get(key)
            self._used[key] = sorted(imported(source)) if known is None else known
        return self._used[key]

    def keep(self) -> None:
        """Keep what was asked for, and forget the rest."""
        if self._used != self._known:
            partial = self._kept.with_name(f"partial-{os.getpid()}-{self._kept.name}")
            partial.write_text(json.dumps(self._used))
            partial.replace(self._kept)


def module_files(name: str, top: Path) -> set[Path]:
    """Give the files that importing a module reads: its own, and those of the packages above it."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return set()
    module = top.joinpath(*parts)
    above = [top.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = {module.with_suffix(".py"), *(package / "__init__.py" for package in above)}
    return {path for path in files if path.is_file() and path.parent.name != GENERATED}


def needed(path: Path, top: Path, imports: Imports) -> set[Path]:
    """Give the files that a file's imports read."""
    return {file for name in imports.of(path) for file in module_files(name, top)}


def reached(entry: str, top: Path, needs: Callable[[Path], set[Path]]) -> set[Path]:
    """Give the files that a module runs, with all that it imports, and the data beside them.

    `needs` says what each file needs.
    """
    found: set[Path] = set()
    ahead = module_files(entry, top)
    while ahead:
        path = ahead.pop()
        found.add(path)
        ahead |= needs(path) - found
    apps = top / "apps"
    packages = {apps / path.relative_to(apps).parts[0] for path in found if path.parent != apps}
    data = (file for package in packages for file in code_files(package) if file.suffix != ".py")
    return found.union(data)


def fingerprints(top: Path, lock: bytes, imports: Imports) -> dict[str, str]:
    """Give each pattern's fingerprint in a tree, with these libraries."""
    names = sorted(path.parent.name for path in top.glob("apps/*/__main__.py"))
    needs = cache(partial(needed, top=top, imports=imports))  # what they share is looked up once
    return {
        name: digest_of_files(top, sorted(reached(f"apps.{name}.__main__", top, needs)), lock)
        for name in names
    }
