"""The matrix as a page: one file that loads nothing, in the report's looks."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import lab.evidence.matrix as words
from lab.evidence import report
from lab.evidence.matrix import faults
from lab.evidence.matrix.cell import WORDS

if TYPE_CHECKING:
    from lab.evidence.matrix.play import Matrix

_HERE = Path(__file__).parent
_LOOKS = (Path(report.__file__).parent / "static" / "page.css", _HERE / "page.css")
SIGNS = {
    "violated": "✕",
    "unknown": "?",
    "degraded": "≈",
    "holds": "✓",
    "senseless": "–",  # noqa: RUF001  a dash, as in a table
    "missing": "·",
}


def render(matrix: Matrix) -> str:
    """Give the page of a matrix."""
    style = "\n".join(path.read_text() for path in _LOOKS)
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    counted = Counter(matrix.words)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        matrix=matrix,
        began=datetime.strptime(matrix.path.name.partition("-")[0], "%Y%m%dT%H%M%S%z"),
        counts={word: counted[word] for word in WORDS if counted[word] and word != "senseless"},
        about=faults.about,
        signs=SIGNS,
        meanings=meanings(),
        report=report.PAGE,
        style=Markup(style),  # noqa: S704  our own files
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    )


def meanings() -> dict[str, str]:
    """Give what each word of a cell means, as the package says it."""
    entry = r"^(\w+) +(?<=^.{12})(\S.*(?:\n {12}\S.*)*)"
    found = re.findall(entry, words.__doc__ or "", re.MULTILINE)
    return {word: " ".join(text.split()) for word, text in found}
