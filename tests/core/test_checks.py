import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core import checks

CHECKS = [
    checks.check_bind,
    checks.check_did,
    checks.check_folder,
    checks.check_host_name,
    checks.check_http_url,
    checks.check_websocket_url,
]


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:8090",
        "0.0.0.0:0",
        "[::1]:443",
        "[::]:0",
        "localhost:65535",
        "feed.example.com:80",
        "unix:/run/x.sock",
    ],
)
def test_bind_takes_addresses_and_sockets(text: str) -> None:
    assert checks.check_bind(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8090",
        ":8090",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "::1:80",
        "[127.0.0.1]:80",
        "[::1]",
        "a b:80",
        "unix:",
        "x:-1",
        "x:+1",
        "x:٣",
        "http://x:80",
        "unix:" + "x" * 108,
        "256.0.0.1:80",
        "[::1%lo]:1:2",
    ],
)
def test_bind_refuses_the_rest(text: str) -> None:
    assert checks.check_bind(text) == checks.BIND


@pytest.mark.parametrize("text", ["localhost", "feed.example.com", "a-b.example", "xn--bcher-kva.example"])
def test_host_name_takes_names(text: str) -> None:
    assert checks.check_host_name(text) == ""


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "-a.example", "a-.example", "127.0.0.1", "https://a.example", "a:80", "a/b", "a" * 64, "a.\n"],
)
def test_host_name_refuses_the_rest(text: str) -> None:
    assert checks.check_host_name(text) == checks.HOST_NAME


@pytest.mark.parametrize(
    "text",
    ["did:plc:abcdefghijklmnopqrstuvwx", "did:web:feed.example.com", "did:web:localhost", "did:web:localhost%3A8090"],
)
def test_did_takes_dids(text: str) -> None:
    assert checks.check_did(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:plc:short",
        "did:plc:ABCDEFGHIJKLMNOPQRSTUVWX",
        "did:web:",
        "did:web:a.example:path",
        "alice.example",
        "did:web:a.example%3A80",
        "did:web:localhost%3A99999",
        "did:plc:abcdefghijklmnopqrstuvwx#key",
    ],
)
def test_did_refuses_the_rest(text: str) -> None:
    assert checks.check_did(text) == checks.DID


@pytest.mark.parametrize(
    "text", ["https://plc.directory", "http://127.0.0.1:2582/", "http://[::1]:80", "https://a.example/x"]
)
def test_http_url_takes_urls(text: str) -> None:
    assert checks.check_http_url(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plc.directory",
        "ftp://a.example",
        "wss://a.example",
        "https://",
        "https:///x",
        "https://u:p@a.example",
        "https://u@a",
        "https://a.example?q",
        "https://a.example#f",
        "https://a b",
        "https://a:99999",
        "https://[::1",
        "https://a.example\n",
        "https://a:0",
        "https://a_/\x7f",
        "https://exämple.com",
    ],
)
def test_http_url_refuses_the_rest(text: str) -> None:
    assert checks.check_http_url(text)


def test_websocket_url_wants_a_websocket() -> None:
    assert checks.check_websocket_url("wss://jetstream.us-east.bsky.network") == ""
    assert checks.check_websocket_url("https://jetstream.us-east.bsky.network")


def test_or_nothing_takes_nothing_and_says_so() -> None:
    check = checks.or_nothing(checks.check_did)
    assert check("") == ""
    assert check("did:web:localhost") == ""
    assert check("x") == f"{checks.DID}, or nothing"


@given(st.sampled_from(CHECKS), st.text() | st.from_regex(r"\A(https?|wss?|unix|did:web):[^ ]*\Z"))
def test_no_text_makes_a_check_raise(check: checks.Check, text: str) -> None:
    assert isinstance(check(text), str)


@given(st.sampled_from(CHECKS))
def test_a_check_says_what_it_takes_when_it_refuses(check: checks.Check) -> None:
    assert len(check("\0")) > 10
