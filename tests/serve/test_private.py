from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from feedgen.core.clock import SystemClock
from feedgen.core.exposition import CONTENT_TYPE
from feedgen.host.measures import measure_process, measure_progress
from feedgen.serve.private import PrivateParts, make_private_app
from feedgen.serve.server import Server


@dataclass
class State:
    late: list[str] = field(default_factory=list)
    unready: str = ""


def measure() -> None:
    measure_process()
    measure_progress(1_700_000_000_500_000, 7)


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def client(state: State) -> AsyncIterator[httpx.AsyncClient]:
    parts = PrivateParts(lambda: state.late, lambda: state.unready, measure, SystemClock())
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
    values = {line.split()[0]: float(line.split()[1]) for line in lines if line[0] != "#"}
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
    assert (await client.get("/xrpc/_health")).status_code == 404
    assert (await client.post("/metrics")).status_code == 405
