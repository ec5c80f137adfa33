"""The scripts of static/ as one script, which a page can hold.

In static/ they are plain modules, which browsers and editors understand as they are. In the page
each becomes a function's scope that stands after those it imports. What is understood is what they
use: `import { … } from "./….js";` on a line, and `export` before a function, a class, a constant or
a list of constants.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"
_IMPORT = re.compile(r'^import (\{ .* \}) from "\./(.+)";$', re.MULTILINE)
_EXPORT = re.compile(
    r"^export ((?:async )?(?:function|class|const) (\w+|\[[\w, ]+\]))", re.MULTILINE
)


@cache
def bundle(entry: str) -> str:
    """Give a module and all that it imports as one script."""
    texts: dict[str, str] = {}
    _collect(entry, texts)
    wrapped = [_wrapped(name, text) for name, text in texts.items() if name != entry]
    return "\n".join(["const modules = {};", *wrapped, _linked(texts[entry])])


def _collect(name: str, texts: dict[str, str]) -> None:
    """Add a module's text, after those of its imports."""
    text = (STATIC / name).read_text()
    for needed in _IMPORT.finditer(text):
        if needed[2] not in texts:
            _collect(needed[2], texts)
    texts[name] = text


def _wrapped(name: str, text: str) -> str:
    exported = ", ".join(found[2].strip("[]") for found in _EXPORT.finditer(text))
    inner = _EXPORT.sub(r"\1", _linked(text))
    return f'modules["{name}"] = (() => {{\n{inner}\nreturn {{ {exported} }};\n}})();'


def _linked(text: str) -> str:
    return _IMPORT.sub(r'const \1 = modules["\2"];', text)
