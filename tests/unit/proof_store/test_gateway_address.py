from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import UnavailableError
from proof_store.gateway_address import GatewayUrl, is_public, judged_addresses, parse_gateway

#: one of each kind that is not the open internet, and IPv6 that leads to such an IPv4
NOT_PUBLIC = [
    str(ipaddress.IPv4Address(0)),
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::7f00:1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "192.88.99.1",
    "2001:10::1",
    "3fff::1",
    "5f00::1",
]


@pytest.mark.parametrize("address", [*NOT_PUBLIC, "", "gateway.example", "1.2.3", "08.8.8.8", "8.8.8.8/32"])
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"])
def test_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_what_it_maps(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))


@pytest.mark.parametrize(
    ("url", "expected", "label"),
    [
        ("http://gateway.example", GatewayUrl("http", "gateway.example", 80, ""), "gateway.example"),
        ("HTTPS://Gateway.Example./", GatewayUrl("https", "gateway.example", 443, ""), "gateway.example"),
        ("http://gateway.example:8080/a/b/", GatewayUrl("http", "gateway.example", 8080, "/a/b"), "gateway.example:8080"),
        ("https://[2606:4700::1]:8443", GatewayUrl("https", "2606:4700::1", 8443, ""), "[2606:4700::1]:8443"),
        ("http://gateway.example:443", GatewayUrl("http", "gateway.example", 443, ""), "gateway.example:443"),
    ],
)
def test_urls(url: str, expected: GatewayUrl, label: str) -> None:
    assert parse_gateway(url) == expected
    assert parse_gateway(url).label == label


@given(st.text(max_size=60).map("http://{}".format) | st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = parse_gateway(text)
    except UnavailableError as error:
        assert error.code == "gateway_url"
    else:
        assert url.host
        assert 0 < url.port < 65536
        assert not set(url.label) & set(" @/\\\r\n%")


async def test_every_address_of_a_name_is_judged() -> None:
    url = parse_gateway("http://gateway.example")

    async def judged(*addresses: str, allow_private: bool = False) -> list[str]:
        async def resolve(host: str, port: int) -> list[str]:
            return list(addresses)

        return await judged_addresses(url, resolve, allow_private=allow_private)

    assert await judged("8.8.8.8", "1.1.1.1") == ["8.8.8.8", "1.1.1.1"]
    with pytest.raises(UnavailableError, match="gateway_address"):
        await judged("8.8.8.8", "10.0.0.1")
    assert await judged("10.0.0.1", allow_private=True) == ["10.0.0.1"]
    with pytest.raises(UnavailableError, match="gateway_unknown"):
        await judged()


async def test_a_name_that_cannot_be_looked_up_is_the_worlds_fault() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(UnavailableError, match="gateway_unknown"):
        await judged_addresses(parse_gateway("http://gateway.example"), resolve, allow_private=False)
