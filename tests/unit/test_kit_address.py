"""Addresses: what is written is read back, and what is no address is said so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address

names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
hosts = names | st.ip_addresses().map(str)


@given(hosts, st.integers(1, 65535))
def test_what_is_written_is_read_back(host: str, port: int) -> None:
    address = Address(host, port)
    assert Address.parse(str(address)) == address
    assert Address.parse(str(address), default_port=9) == address


@given(hosts)
def test_a_host_alone_has_the_default_port(host: str) -> None:
    written = f"[{host}]" if ":" in host else host
    assert Address.parse(written, default_port=80) == Address(host, 80)
    with pytest.raises(ValueError, match="needs a port from 1 to 65535"):
        Address.parse(written)


@given(st.text() | st.text("0123456789:[]. n%"), st.none() | st.integers(1, 65535))
def test_garbage_is_an_address_or_a_value_error(text: str, default: int | None) -> None:
    try:
        address = Address.parse(text, default)
    except ValueError as error:
        said = str(error)
    else:
        said = ""
        assert address.host
        assert not address.host.startswith("[")
        assert 0 < address.port < 65536
        assert Address.parse(str(address)) == address
    assert not said or repr(text) in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no host"),
        (":80", "names no host"),
        ("n1", "needs a port from 1 to 65535, as in n1:80"),
        ("n1:", "needs a port"),
        ("n1:0", "needs a port"),
        ("n1:65536", "needs a port"),
        ("n1:http", "needs a port"),
        ("n1:-1", "needs a port"),
        ("n1:\uff18\uff10", "needs a port"),
        ("n1:" + "9" * 5000, "needs a port"),
        ("::1", r"goes in brackets: \[::1\]:80"),
        ("::1:80", "goes in brackets"),
        ("n 1:80", "is no host:port"),
        ("[n1]:80", "no IPv6 address in its brackets"),
        ("[]:80", "no IPv6 address in its brackets"),
        ("[::1", "is no host:port"),
        ("[::1]80", "is no host:port"),
        ("[::1]", r"as in \[::1\]:80"),
    ],
)
def test_an_error_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Address.parse(text)
