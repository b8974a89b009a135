from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from feedgen.cli.why import ask, in_words
from feedgen.core.clock import SystemClock
from feedgen.core.errors import FeedgenError
from feedgen.core.exposition import CONTENT_TYPE
from feedgen.host.measures import measure_process, measure_progress
from feedgen.serve.http.private import PrivateParts, make_private_app
from feedgen.serve.http.server import Server

READER, POST = "did:plc:reader", "at://did:plc:author/app.bsky.feed.post/3k2la3b4c5d2e"


@dataclass
class State:
    late: list[str] = field(default_factory=list)
    unready: str = ""
    why: dict[str, object] = field(
        default_factory=lambda: {
            "score": 0.5,
            "terms": {"likes of people like the reader": 2.0, "age of the post": 0.25},
            "people": 1,
            "likes": 12,
            "age_us": 5_400_000_000,
            "seeds": [{"post": POST, "people": 1}],
        }
    )


def measure() -> None:
    measure_process()
    measure_progress(1_700_000_000_500_000, 7)


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def client(state: State) -> AsyncIterator[httpx.AsyncClient]:
    async def why(reader: str, post: str, feed: str) -> dict[str, object]:
        return state.why | {"place": 2, "of": 9} if feed == "for-you" else {"absent": "for a reason"}

    parts = PrivateParts(lambda: state.late, lambda: state.unready, measure, SystemClock(), why)
    server = Server(make_private_app(parts), ["127.0.0.1:0"])
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://{server.addresses[0]}") as client:
        yield client
    await server.stop(1.0)


async def test_metrics(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"] == CONTENT_TYPE
    lines = answer.text.splitlines()
    assert "feedgen_ingest_newest_event_timestamp_seconds 1700000000.5" in lines and "feedgen_store_people 7" in lines
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}
    assert values["process_resident_memory_bytes"] > 1e6 and values["process_open_fds"] > 3
    assert 0 < values["process_cpu_seconds_total"] < 1e6
    again = (await client.get("/metrics")).text
    assert 'feedgen_http_requests_total{route="metrics",code="200"}' in again and "did:" not in again


async def test_live_and_ready(client: httpx.AsyncClient, state: State) -> None:
    for path in ("/livez", "/readyz"):
        answer = await client.get(path)
        assert (answer.status_code, answer.text) == (200, "ok\n")
    state.unready = "starting"
    assert (await client.get("/livez")).status_code == 200
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "starting\n")
    state.late = ["writer"]
    answer = await client.get("/livez")
    assert (answer.status_code, answer.text) == (503, "no sign of life: writer\n")


async def test_nothing_else_is_here(client: httpx.AsyncClient) -> None:
    assert (await client.get("/xrpc/_health")).status_code == 501
    assert (await client.get("/nothing")).json()["error"] == "NotFound"
    assert (await client.post("/metrics")).status_code == 405


async def test_why_in_words(client: httpx.AsyncClient, state: State) -> None:
    bind = client.base_url.netloc.decode()
    query = {"reader": READER, "post": POST, "feed": "for-you"}
    said = in_words(await asyncio.to_thread(ask, bind, query))
    assert "Place 2 of the 9" in said and "1 person who" in said and "1.5 hours old" in said
    assert "    2            likes of people like the reader\n  x 0.25         age of the post\n" in said
    assert f"    1 of them  {POST}\n" in said
    other = await asyncio.to_thread(ask, bind, query | {"feed": "videos-for-you"})
    assert in_words(other) == "Not in the ranking: for a reason.\n"
    for bad in ({"reader": "somebody"}, {"post": "https://bsky.app/"}):
        assert (await client.get("/why.json", params=query | bad)).status_code == 400
        with pytest.raises(FeedgenError, match="can't say: give reader"):
            await asyncio.to_thread(ask, bind, query | bad)
    state.unready = "starting"
    with pytest.raises(FeedgenError, match="can't say: starting"):
        await asyncio.to_thread(ask, bind, query)


def test_why_without_anybody_to_ask() -> None:
    with pytest.raises(FeedgenError, match="no private address"):
        ask("", {})
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(FeedgenError, match="Nobody answers"):
            ask(f"127.0.0.1:{nobody.getsockname()[1]}", {})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8091", 200),
        ("[::1]:8091", 200),
        ("::1", 200),
        ("100.64.0.7", 200),
        ("localhost:8091", 200),
        ("home:8091", 200),
        ("Home.Example.net.:8091", 200),
        ("evil.example.com", 421),
        ("evil.example.com:8091", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("home.example.net.evil.example.com", 421),
        ("localhost.evil.example.com:1", 421),
    ],
)
async def test_other_names_are_refused(state: State, host: str, status: int) -> None:
    """A page on the operator's PC could read all of it by having its own name lead here."""
    parts = PrivateParts(lambda: [], lambda: "", measure, SystemClock(), hosts=["home.example.net"])
    server = Server(make_private_app(parts), ["127.0.0.1:0"])
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        for path in ("/livez", "/metrics", "/why.json", "/nothing"):
            answer = await client.get(path, headers={"host": host})
            assert (answer.status_code == 421) == (status == 421), (path, answer.status_code)
    await server.stop(1.0)
