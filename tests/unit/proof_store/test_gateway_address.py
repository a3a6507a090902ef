from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_protocol.errors import UnavailableError
from proof_store.gateway_address import GatewayUrl, judged_addresses, parse_gateway


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
