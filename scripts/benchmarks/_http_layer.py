"""Our HTTP layer against uvicorn and httptools: one application, the mix of requests that readers send, one run.

    python -m scripts.benchmarks._http_layer ours|uvicorn    serves until its stdin ends, and says its port

CPU of the server's process is counted, a request; both take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable

import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from feedgen.core.clock import SystemClock
from feedgen.serve.http.routing import Row, application
from feedgen.serve.http.server import Server
from scripts.benchmarks import Figure
from scripts.benchmarks._service import cpu_s

ROUNDS = 4
REQUESTS = 6000  # of a round
CONNECTIONS = 20
TOKEN = b"authorization: Bearer " + b"a" * 400
ANSWER = json.dumps({"feed": [{"post": f"at://did:plc:{'a' * 24}/app.bsky.feed.post/{n:013}"} for n in range(30)]})
BODY = json.dumps({"interactions": [{"item": "x" * 70, "event": "y" * 34, "reqId": "z" * 20}] * 10}).encode()
GET = b"GET /page?feed=x&limit=30 HTTP/1.1\r\nhost: feed\r\nuser-agent: Caddy\r\n" + TOKEN + b"\r\n\r\n"
POST = b"POST /told HTTP/1.1\r\nhost: feed\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(BODY)
MIX = [GET, POST + TOKEN + b"\r\n\r\n" + BODY, GET, GET, POST + TOKEN + b"\r\n\r\n" + BODY, GET, GET] * 2


def app() -> ASGIApp:
    async def page(request: Request) -> Response:
        assert request.headers["authorization"] and request.url.path
        return Response(ANSWER, headers={"cache-control": "no-store"}, media_type="application/json")

    async def told(request: Request) -> Response:
        assert request.headers["authorization"]
        return Response(b"%d" % len(await request.body()), media_type="application/json")

    return application([Row("/page", page, "page"), Row("/told", told, "told", ("POST",))], SystemClock())


async def serve_ours() -> None:
    server = Server(app(), ["127.0.0.1:0"])
    await server.start()
    print(server.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(1.0)


async def serve_uvicorn() -> None:
    import uvicorn

    config = uvicorn.Config(
        app(), port=0, http="httptools", ws="none", lifespan="off", access_log=False, log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving


async def ask(port: int, requests: int) -> None:
    """On connections that are kept, each with one request at a time."""

    async def one(share: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for n in range(share):
            writer.write(MIX[n % len(MIX)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one(requests // CONNECTIONS))


def compare() -> Iterable[Figure]:
    used_ms = {"ours": 0.0, "uvicorn": 0.0}
    servers = {
        name: subprocess.Popen(
            [sys.executable, "-m", __name__, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in used_ms
    }
    try:
        ports = {name: int(server.stdout.readline()) for name, server in servers.items() if server.stdout is not None}
        for round_ in range(ROUNDS + 1):
            for name, server in servers.items():
                before_s = cpu_s(server)
                asyncio.run(ask(ports[name], REQUESTS))
                if round_:  # the first warms up
                    used_ms[name] += (cpu_s(server) - before_s) * 1000
    finally:
        for server in servers.values():
            server.communicate()
    each = {name: ms / ROUNDS / REQUESTS for name, ms in used_ms.items()}
    note = ", ".join(f"{name} {ms:.3f}" for name, ms in each.items())
    yield Figure("serve.http_ratio", each["ours"] / each["uvicorn"], "x", f"{note} ms of CPU a request")


if __name__ == "__main__":
    uvloop.run(serve_ours() if sys.argv[1] == "ours" else serve_uvicorn())
