"""What an item is, and what a request may say: pure rules, no HTTP library, no disk.

Three rules make a resource safe to share over a network that loses answers:

- A change says which version it changes. Every version of an item has an entity tag, and a change
  carries the tag it was made from in `If-Match`; if another change came first, the tags differ and
  nothing is lost silently (RFC 9110, sections 8.8.3 and 13.1.1).
- A patch says what differs, not what the item is: JSON Merge Patch (RFC 7396, section 2).
- A creation has a name of its own, the idempotency key, so that it can be repeated when its answer
  is lost, and happens once (draft-ietf-httpapi-idempotency-key-header-07).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

Content: TypeAlias = dict[str, Any]
"""What a client says of an item: `name`, `quantity`, `labels` and, optionally, `note`."""

NAME_LENGTH = 200
NOTE_LENGTH = 4000
QUANTITY_MOST = 1_000_000_000
LABELS_MOST = 32
LABEL_KEY = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"
LABEL_LENGTH = 256
OPTIONAL = ("quantity", "note", "labels")
"""Members that an item may be without."""
DEPTH_MOST = 32
"""Of arrays and objects in each other, in a body."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: where (a `pointer`, `header` or `parameter`), and what."""

    where: str
    place: str
    detail: str

    def document(self) -> dict[str, str]:
        """Give it as a member of a problem's `errors` (RFC 9457, section 3, shows such)."""
        return {self.where: self.place, "detail": self.detail}


class Malformed(ValueError):
    """A body is not JSON, or not JSON that means one thing."""


class Invalid(ValueError):
    """A request is well-formed and breaks the rules of items; `faults` says each breach."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """`faults` has one at least."""
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.detail for fault in self.faults))


def parse_json(body: bytes) -> Any:
    """Read a JSON text (RFC 8259) strictly: no NaN, no name twice in an object; else Malformed."""

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("an object has the same name twice")
        return members

    try:
        value = json.loads(body.decode(), parse_constant=constant, object_pairs_hook=unique)
        if _too_deep(value):
            raise RecursionError
    except RecursionError:
        raise Malformed(f"the body is nested more than {DEPTH_MOST} deep") from None
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    return value


def validated(value: Any) -> Content:
    """Give an item's content with its defaults filled in; Invalid names every breach."""
    if not isinstance(value, dict):
        raise Invalid([Fault("pointer", "", "an item must be a JSON object")])
    known = {"name", *OPTIONAL}
    faults = [
        Fault("pointer", _pointer(name), f"an item has no such member; it has {sorted(known)}")
        for name in sorted(value.keys() - known)
    ]
    faults += _text_faults(value.get("name"), "/name", 1, NAME_LENGTH)
    if "note" in value:
        faults += _text_faults(value["note"], "/note", 0, NOTE_LENGTH)
    quantity = value.get("quantity", 0)
    if not _is_integer(quantity) or not 0 <= quantity <= QUANTITY_MOST:
        what = f"must be an integer from 0 to {QUANTITY_MOST}"
        faults.append(Fault("pointer", "/quantity", what))
    labels = value.get("labels", {})
    faults += _label_faults(labels)
    if faults:
        raise Invalid(faults)
    return with_defaults(value) | {"quantity": int(quantity)}


def patch_that_fits(patch: Any) -> Any:
    """Give a merge patch that fits some item; Invalid, and names every breach, if there is none.

    What it removes has to be what an item may have, and may be without.
    """
    if not isinstance(patch, dict):
        return validated(patch)
    left = {n: v for n, v in patch.items() if v is not None or n not in OPTIONAL}
    labels = left.get("labels")
    if isinstance(labels, dict):
        left["labels"] = {key: "" if value is None else value for key, value in labels.items()}
    validated({"name": "any", **left})
    return patch


def with_defaults(content: Mapping[str, Any]) -> Content:
    """Fill in what a client may leave out."""
    return {"quantity": 0, "labels": {}, **content}


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a merge patch: members replace, null removes, objects merge (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def fingerprint(content: Mapping[str, Any]) -> str:
    """Give what tells two requests of one idempotency key apart: SHA-256 of the canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def entity_tag(version: int) -> str:
    """Give the strong entity tag of an item's version, quotes included."""
    return f'"{version}"'


_TAG = r'(?:W/)?"[!#-~\x80-\xff]*"'
_ELEMENT = rf"[ \t]*(?:{_TAG}[ \t]*)?"
_TAGS = re.compile(rf"{_ELEMENT}(?:,{_ELEMENT})*")  # empty elements are ignored (section 5.6.1)


@dataclass(frozen=True, slots=True)
class Tags:
    """What an `If-Match` or `If-None-Match` lists: entity tags, or `*` for any."""

    any: bool
    listed: tuple[str, ...] = ()

    def match(self, etag: str) -> bool:
        """Compare strongly: a weak tag matches nothing (RFC 9110, section 8.8.3.2)."""
        return self.any or etag in self.listed

    def match_weakly(self, etag: str) -> bool:
        """Compare weakly: `W/` makes no difference."""
        return self.any or etag in (tag.removeprefix("W/") for tag in self.listed)


def parse_tags(name: str, header: str) -> Tags:
    """Read a list of entity tags (RFC 9110, section 13.1.1); Invalid if it is none."""
    if header.strip() == "*":
        return Tags(any=True)
    if not _TAGS.fullmatch(header):
        raise Invalid([Fault("header", name, 'must be * or entity tags in quotes, as in "3"')])
    return Tags(any=False, listed=tuple(re.findall(_TAG, header)))


KEY_LENGTH = 255
_QUOTED_KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')
_BARE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]*")


def parse_key(header: str) -> str:
    r"""Read an Idempotency-Key: a Structured Fields string (RFC 9651, section 3.3.3); else Invalid.

    `"8e03-978e"`, quotes included; `\"` and `\\` stand for the character. A plain key means
    the same without quotes, which a shell eats easily and many clients leave out.
    """
    value = header.strip(" ")
    quoted = _QUOTED_KEY.fullmatch(value)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value
    if len(key) > KEY_LENGTH or not (quoted or _BARE_KEY.fullmatch(value)):
        what = f'must be a string of 1 to {KEY_LENGTH} characters in double quotes, as in "k-17"'
        raise Invalid([Fault("header", "Idempotency-Key", what)])
    return key


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_MOST):
        level = [inner for outer in level for inner in _inside(outer)]
    return any(isinstance(value, dict | list) for value in level)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _pointer(name: str) -> str:
    # RFC 6901, section 3; a lone surrogate cannot be written in UTF-8, so it is shown escaped.
    shown = name.encode("utf-8", "backslashreplace").decode()
    return "/" + shown.replace("~", "~0").replace("/", "~1")


def _is_integer(value: Any) -> bool:
    # JSON has one kind of number: 3.0 is an integer, and true is not (JSON Schema, section 4.2.1).
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _text_faults(value: Any, pointer: str, least: int, most: int) -> list[Fault]:
    if not isinstance(value, str) or not least <= len(value) <= most:
        return [Fault("pointer", pointer, f"must be a string of {least} to {most} characters")]
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        return [Fault("pointer", pointer, "holds half of a surrogate pair, which is no character")]
    return []


def _label_faults(labels: Any) -> list[Fault]:
    if not isinstance(labels, dict) or len(labels) > LABELS_MOST:
        return [Fault("pointer", "/labels", f"must be an object of at most {LABELS_MOST} members")]
    faults = []
    for key, value in labels.items():
        pointer = "/labels" + _pointer(key)
        if not re.fullmatch(LABEL_KEY, key):
            faults.append(Fault("pointer", pointer, f"a label's name must match {LABEL_KEY}"))
        faults += _text_faults(value, pointer, 0, LABEL_LENGTH)
    return faults
