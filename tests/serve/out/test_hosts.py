from __future__ import annotations

import pytest

from feedgen.serve.out.hosts import did_web_host, is_public_address, is_public_host, public_origin


@pytest.mark.parametrize(
    "host", ["example.com", "a.b.example.com", "xn--bcher-kva.example.com", "1.example.com", "a.co"]
)
def test_public_hosts(host: str) -> None:
    assert is_public_host(host)
    assert did_web_host("did:web:" + host) == host


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "router",
        "printer.local",
        "nas.lan",
        "x.localhost",
        "metadata.google.internal",
        "1.0.0.127.in-addr.arpa",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
        "017700000001",
        "127.0.0.0x1",
        "[::1]",
        "::1",
        "fe80::1%eth0",
        "example.com.",
        ".example.com",
        "example..com",
        "-a.example.com",
        "a-.example.com",
        "a_b.example.com",
        "example.com:8080",
        "example.com%3A8080",
        "example.com%2F..",
        "user@example.com",
        "user:pass@example.com",
        "example.com/path",
        "example.com:path:to",
        "example.com#x",
        "example.com?x",
        "exa mple.com",
        "example.com\n",
        "exämple.com",
        "①②⑦.example.com",
        "a" * 64 + ".example.com",
        "a." * 127 + "com",
    ],
)
def test_hosts_that_are_not_asked(host: str) -> None:
    assert not is_public_host(host)
    assert did_web_host("did:web:" + host) == ""


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2001:4860:4860::8888"])
def test_public_addresses(address: str) -> None:
    assert is_public_address(address)


NOT_PUBLIC = """
    0.0.0.0 127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
    100.127.0.1 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1
    255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 fe80::1 fe80::1%eth0
    fc00::1 fd12::1 ff02::1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 2002:7f00:1:: 2002:808:808::
    2001:0:7f00:1:: 2001:db8::1 100::1 fec0::1 4000::1 nonsense
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://pds.example.com", "https://pds.example.com"),
        ("https://pds.example.com/", "https://pds.example.com"),
        ("https://PDS.Example.com:443", "https://pds.example.com"),
        ("http://pds.example.com", ""),
        ("https://pds.example.com:8443", ""),
        ("https://user@pds.example.com", ""),
        ("https://pds.example.com/path", ""),
        ("https://pds.example.com?x", ""),
        ("https://127.0.0.1", ""),
        ("https://[::1]", ""),
        ("https://[::1", ""),
        ("https://localhost", ""),
        ("https://pds.example.com:99999", ""),
        ("https://pds.example.com\\@evil.example.org", ""),
        ("//pds.example.com", ""),
        ("", ""),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert public_origin(url) == origin
