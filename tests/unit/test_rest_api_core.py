"""The pure rules of rest_api: content, merge patch, entity tags, keys."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.rest_api.core import (
    DEPTH_MOST,
    Invalid,
    Malformed,
    fingerprint,
    merge_patch,
    parse_json,
    parse_key,
    parse_tags,
    validated,
)

# RFC 7396, appendix A: original, patch, result.
RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "patch", "result"), RFC_7396)
def test_merge_patch_does_what_the_rfc_shows(original: Any, patch: Any, result: Any) -> None:
    assert merge_patch(original, patch) == result


def test_content_gets_its_defaults_and_plain_integers() -> None:
    assert validated({"name": "nut"}) == {"name": "nut", "quantity": 0, "labels": {}}
    whole = validated({"name": "nut", "quantity": 3.0, "note": "", "labels": {"a": "b"}})
    assert whole == {"name": "nut", "quantity": 3, "note": "", "labels": {"a": "b"}}
    assert isinstance(whole["quantity"], int)


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ([], ""),
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": "half \ud800"}, "/name"),
        ({"name": "nut", "quantity": True}, "/quantity"),
        ({"name": "nut", "quantity": -1}, "/quantity"),
        ({"name": "nut", "quantity": 1.5}, "/quantity"),
        ({"name": "nut", "quantity": float("inf")}, "/quantity"),
        ({"name": "nut", "note": None}, "/note"),
        ({"name": "nut", "labels": []}, "/labels"),
        ({"name": "nut", "labels": {str(n): "" for n in range(33)}}, "/labels"),
        ({"name": "nut", "labels": {"A": "x"}}, "/labels/A"),
        ({"name": "nut", "labels": {"a\n": "x"}}, "/labels/a\n"),
        ({"name": "nut", "labels": {"a": 1}}, "/labels/a"),
        ({"name": "nut", "a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_a_breach_is_named_where_it_is(content: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        validated(content)
    assert [fault.place for fault in caught.value.faults] == [pointer]


def test_every_breach_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        validated({"quantity": "x", "weight": 1})
    assert {fault.place for fault in caught.value.faults} == {"/name", "/quantity", "/weight"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b'{"name": Infinity}',
        b'{"a": 1, "a": 2}',
        b'"\xff"',
        b"[" * 100_000,
        b"[" * (DEPTH_MOST + 1) + b"]" * (DEPTH_MOST + 1),
        b"1" * 5000,
    ],
    ids=lambda body: body[:16].decode(errors="replace"),
)
def test_what_is_no_single_meaning_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_json(body)


def test_nesting_up_to_the_bound_is_read() -> None:
    assert parse_json(b"[" * DEPTH_MOST + b"]" * DEPTH_MOST) is not None


def test_tags_match_strongly_or_weakly() -> None:
    tags = parse_tags("If-Match", '"1", W/"2" ,"x"')
    assert tags.match('"1"')
    assert not tags.match('"2"')
    assert tags.match_weakly('"2"')
    assert not tags.match_weakly('"3"')
    assert parse_tags("If-Match", " * ").match('"anything"')
    assert parse_tags("If-Match", '"1",, "2",').match('"2"')
    assert not parse_tags("If-Match", "").match('"1"')


@pytest.mark.parametrize("header", ["1", '"1', '"1" "2"', '"a b"', '*, "1"', 'w/"1"'])
def test_a_malformed_tag_is_refused(header: str) -> None:
    with pytest.raises(Invalid):
        parse_tags("If-Match", header)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"k-17"', "k-17"),
        ("k-17", "k-17"),
        (r'"a \"b\" \\ c"', r'a "b" \ c'),
        ('"' + "k" * 255 + '"', "k" * 255),
    ],
)
def test_a_key_is_a_structured_string_or_plain(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize(
    "header", ["", '""', '"a', "a b", "é", '"é"', "a,b", '"' + "k" * 256 + '"']
)
def test_a_malformed_key_is_refused(header: str) -> None:
    with pytest.raises(Invalid):
        parse_key(header)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(target=JSON, patch=JSON)
def test_a_patch_applied_twice_is_the_patch_applied_once(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(st.dictionaries(st.text(), JSON))
def test_a_fingerprint_does_not_depend_on_the_order_of_members(content: dict[str, Any]) -> None:
    turned = dict(reversed(content.items()))
    assert fingerprint(turned) == fingerprint(content)
