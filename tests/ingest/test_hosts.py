"""What is said to a host: addresses, cursors, and how its dictionary is fetched and kept."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import zstandard

from feedgen.core.errors import UpstreamError
from feedgen.ingest import hosts
from feedgen.ingest.batch import Cursor
from feedgen.ingest.events import COLLECTIONS
from feedgen.ingest.hosts import OLDEST, Dictionaries, NoDictionary, base_of, cursor_value, subscription_url
from tests.ingest import wires

NOW_US = wires.NOW_US
BASE = "wss://jetstream.example.com"


@pytest.mark.parametrize(
    "url", [BASE, BASE + "/", BASE + "/subscribe", BASE + "/xrpc/network.bsky.jetstream.subscribeEvents"]
)
def test_base(url: str) -> None:
    assert base_of(url) == BASE
    assert hosts.host_name(base_of(url)) == "jetstream.example.com"


def test_what_v1_is_asked() -> None:
    parts = urlsplit(subscription_url(BASE, "v1", 5))
    assert (parts.scheme, parts.netloc, parts.path) == ("wss", "jetstream.example.com", "/subscribe")
    query = parse_qs(parts.query)
    assert query == {"wantedCollections": list(COLLECTIONS), "maxMessageSizeBytes": ["2097152"], "cursor": ["5"]}


def test_what_v2_is_asked() -> None:
    """Accounts must be among the kinds: without them, deleted people would be recommended for ever."""
    parts = urlsplit(subscription_url(BASE, "v2", None, 20260811))
    assert parts.path == "/xrpc/network.bsky.jetstream.subscribeEvents"
    assert parse_qs(parts.query) == {
        "collections": list(COLLECTIONS),
        "kinds": ["commit", "identity", "account", "sync"],
        "zstdDictionary": ["20260811"],
        "maxMessageSizeBytes": ["2097152"],
    }


@pytest.mark.parametrize(
    ("at", "start", "value"),
    [
        (None, "oldest", OLDEST),
        (None, "now", None),
        (Cursor(), "oldest", OLDEST),
        (Cursor("here", 5, NOW_US), "oldest", 5),
        (Cursor("here", 0, NOW_US), "oldest", NOW_US - hosts.REWIND_US),
        (Cursor("there", 5, NOW_US), "now", NOW_US - hosts.REWIND_US),
        (Cursor("there", 5, 3), "now", OLDEST),
    ],
)
def test_cursors(at: Cursor | None, start: str, value: int | None) -> None:
    assert cursor_value(at, "here", start) == value


def dictionary(n: int) -> bytes:
    samples = [wires.dump(wires.commit("v2", record=wires.like(), seq=i, rkey=f"k{i}")) for i in range(500)]
    return zstandard.train_dictionary(4096, [*samples], dict_id=n).as_bytes()


class Host:
    """Answers as told, and counts."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def dictionaries(self, folder: Path) -> Dictionaries:
        return Dictionaries(folder, httpx.AsyncClient(transport=httpx.MockTransport(self)))


async def test_it_is_fetched_once_and_kept(tmp_path: Path) -> None:
    data = dictionary(7)
    host = Host(httpx.Response(200, content=data))
    known = host.dictionaries(tmp_path / "d")
    assert await known.get(BASE) == await known.get(BASE) == data
    assert host.asked == ["https://jetstream.example.com/xrpc/network.bsky.jetstream.getZstdDictionary"]
    assert (tmp_path / "d" / "7").read_bytes() == data


async def test_after_forgetting_it_is_fetched_again(tmp_path: Path) -> None:
    known = Host(httpx.Response(200, content=dictionary(7)), httpx.Response(200, content=dictionary(8))).dictionaries(
        tmp_path
    )
    await known.get(BASE)
    known.forget(BASE)
    assert hosts.dictionary_id(await known.get(BASE)) == 8
    assert {p.name for p in tmp_path.iterdir()} == {"7", "8"}


@pytest.mark.parametrize("trouble", [httpx.ConnectError("no route"), httpx.ReadTimeout("slow"), httpx.Response(503)])
async def test_the_kept_one_helps_when_the_fetch_fails(tmp_path: Path, trouble: httpx.Response | Exception) -> None:
    (tmp_path / "7").write_bytes(dictionary(7))
    assert await Host(trouble).dictionaries(tmp_path).get(BASE) == dictionary(7)


async def test_without_a_kept_one_a_failure_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError):
        await Host(httpx.ConnectError("no route")).dictionaries(tmp_path).get(BASE)


async def test_a_kept_one_that_is_damaged_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "7").write_bytes(dictionary(7)[:100])
    (tmp_path / "8").write_bytes(dictionary(9))
    with pytest.raises(UpstreamError):
        await Host(httpx.Response(503)).dictionaries(tmp_path).get(BASE)


@pytest.mark.parametrize("status", [400, 404, 501])
async def test_a_host_without_one_speaks_the_old_wire(tmp_path: Path, status: int) -> None:
    (tmp_path / "7").write_bytes(dictionary(7))
    with pytest.raises(NoDictionary):
        await Host(httpx.Response(status)).dictionaries(tmp_path).get(BASE)


@pytest.mark.parametrize("body", [b"", b"<html>", b"x" * 70_000, b"\0" * (3 << 20)])
async def test_what_is_no_dictionary_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(UpstreamError):
        await Host(httpx.Response(200, content=body)).dictionaries(tmp_path / "d").get(BASE)
    assert not (tmp_path / "d").exists()


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    host = Host(httpx.Response(302, headers={"location": "https://elsewhere.example.com/"}))
    with pytest.raises(UpstreamError):
        await host.dictionaries(tmp_path).get(BASE)
    assert len(host.asked) == 1


async def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    data = dictionary(7)
    assert await Host(httpx.Response(200, content=data)).dictionaries(tmp_path / "file").get(BASE) == data


async def test_only_so_many_are_kept(tmp_path: Path) -> None:
    for n in range(1, 13):
        (tmp_path / str(n)).write_bytes(b"old")
    await Host(httpx.Response(200, content=dictionary(99))).dictionaries(tmp_path).get(BASE)
    assert len(list(tmp_path.iterdir())) == hosts.MAX_CACHED
    assert (tmp_path / "99").exists()
