"""Debian's Caddy with our Caddyfile, in front of the real process: restarted, killed, and lied to."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from feedgen import cli
from feedgen.simnet.process import SimnetProcess
from tests.host.as_systemd import Activated, public_socket
from tests.process import METHOD, PUBLISHER, SERVICE

pytestmark = pytest.mark.needs("caddy")

CADDYFILE = Path(__file__).parents[2] / "caddy" / "Caddyfile"
DESCRIBE = "/xrpc/app.bsky.feed.describeFeedGenerator"
SKELETON = f"/xrpc/{METHOD}"
INTERACTIONS = "/xrpc/app.bsky.feed.sendInteractions"
FEED = f"at://{PUBLISHER}/app.bsky.feed.generator/popular"
APPVIEW_LEAVES_S = 5.0


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def caddy(folder: Path, upstream: str) -> Iterator[httpx.Client]:
    port = free_port()
    env = os.environ | {
        "FEEDGEN_SITE": f"http://127.0.0.1:{port}",
        "FEEDGEN_UPSTREAM": upstream,
        "FEEDGEN_FALLBACK": str(folder / "fallback"),
        "FEEDGEN_CADDY_ADMIN": "off",
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "HOME": str(folder),
    }
    command = ["caddy", "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    with (folder / "caddy.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stderr=log)
    try:
        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s:
            with closing(socket.socket()) as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "caddy.log").read_text()
            time.sleep(0.05)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


class Upstream(BaseHTTPRequestHandler):
    """Tells what reached it; `/` is slow, did.json fails."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/":
            time.sleep(6)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps(headers).encode()
        self.send_response(503 if self.path.startswith("/.well-known") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Server", "secret")
        with suppress(OSError):
            self.end_headers()
            self.wfile.write(body)

    def finish(self) -> None:
        with suppress(OSError):  # who asked for something slow has left
            super().finish()

    def log_message(self, *_: object) -> None:
        """Not in the tests' output."""


@pytest.fixture
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def put_fallback(folder: Path) -> None:
    for name, value in {
        f"{SKELETON}.json": {"feed": [{"post": "at://did:plc:a/app.bsky.feed.post/1"}]},
        f"{DESCRIBE}.json": {"did": SERVICE, "feeds": []},
        "/.well-known/did.json": {"id": SERVICE},
    }.items():
        path = folder / "fallback" / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))


def test_only_public_routes_and_headers_that_tell_nothing(tmp_path: Path, upstream: str) -> None:
    with caddy(tmp_path, upstream) as client:
        lies = {
            "x-forwarded-for": "1.2.3.4",
            "x-forwarded-host": "evil.example",
            "x-real-ip": "1.2.3.4",
            "forwarded": "for=1.2.3.4",
            "true-client-ip": "1.2.3.4",
            "cf-connecting-ip": "1.2.3.4",
            "cookie": "a=b",
            "authorization": "Bearer x",
        }
        answer = client.get(DESCRIBE, headers=lies)
        assert answer.status_code == 200
        told = answer.json()
        assert told["x-forwarded-for"] == "127.0.0.1" and told["x-forwarded-host"].startswith("127.0.0.1")
        assert told["authorization"] == "Bearer x"
        assert "1.2.3.4" not in str(told) and "cookie" not in told
        assert not {"server", "via"} & set(answer.headers)
        for path in ("/metrics", "/livez", "/readyz", "/xrpc/_health", "/nothing", "/xrpc/com.example.other"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
        answer = client.get("/xrpc/../metrics")
        assert answer.status_code == 404


def test_what_is_slow_or_broken_is_answered_from_the_files(tmp_path: Path, upstream: str) -> None:
    put_fallback(tmp_path)
    with caddy(tmp_path, upstream) as client:
        answer = client.get("/.well-known/did.json")  # the upstream says 503
        assert (answer.status_code, answer.json()) == (200, {"id": SERVICE})
        assert answer.headers["content-type"] == "application/json"
        began_s = time.monotonic()
        answer = client.get("/")
        assert answer.status_code == 502 and answer.json()["error"] == "UpstreamFailure"
        assert time.monotonic() - began_s < APPVIEW_LEAVES_S


def test_nobody_at_home(tmp_path: Path) -> None:
    put_fallback(tmp_path)
    with caddy(tmp_path, f"127.0.0.1:{free_port()}") as client:
        began_s = time.monotonic()
        answer = client.get(SKELETON, params={"feed": FEED, "limit": "30"})
        assert answer.status_code == 200 and len(answer.json()["feed"]) == 1
        assert answer.headers["cache-control"] == "no-store"
        assert time.monotonic() - began_s < APPVIEW_LEAVES_S
        answer = client.get(SKELETON, params={"feed": FEED, "cursor": "x"})
        assert (answer.status_code, answer.json()) == (200, {"feed": []})
        answer = client.post(INTERACTIONS, json={"interactions": []})
        assert answer.status_code == 502


# --- before the real process


@pytest.fixture(scope="module")
def network() -> Iterator[SimnetProcess]:
    with SimnetProcess("--people", "80", "--days", "0.5", "--wait", "--rate", "5") as network:
        yield network


def activated(folder: Path, public: socket.socket, network: SimnetProcess) -> Activated:
    return Activated(
        folder,
        public,
        jetstream__urls=",".join(network.urls.jetstream),
        jetstream__start="oldest",
        identity__plc_url=network.urls.plc,
    )


class Askers:
    """Callers who don't stop; how each answer went, and the slowest."""

    def __init__(self, client: httpx.Client, tokens: list[str], n: int = 4) -> None:
        self._tokens = itertools.cycle(tokens)
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._url, self._over = str(client.base_url), threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(n)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._over.is_set():
                began_s = time.monotonic()
                try:
                    # Many readers: one alone, or nobody in particular, may not ask that often.
                    headers = {"authorization": f"Bearer {next(self._tokens)}"}
                    answer = client.get(SKELETON, params={"feed": FEED, "limit": "10"}, headers=headers)
                    self.outcomes[str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    self.outcomes[type(error).__name__] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)

    def until(self, n: int, timeout_s: float = 90) -> None:
        deadline_s = time.monotonic() + timeout_s
        while sum(self.outcomes.values()) < n and time.monotonic() < deadline_s:
            time.sleep(0.05)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)


def test_a_restart_under_load_a_body_too_large_and_a_kill(network: SimnetProcess, tmp_path: Path) -> None:
    with public_socket() as public:
        upstream = "{}:{}".format(*public.getsockname())
        with caddy(tmp_path, upstream) as client:
            with activated(tmp_path, public, network) as it:
                it.said("answering")
                it.wait_for(lambda: it.page(feed="popular").json()["feed"], "something popular")
                arguments = ["fallback", str(tmp_path / "fallback"), "--url", it.url]
                arguments += ["--set", f"service.publisher_did={PUBLISHER}"]
                done = CliRunner().invoke(cli.cli, arguments)
                assert done.exit_code == 0 and "posts" in done.output, done.output

                answer = client.post(INTERACTIONS, content=b"{" + b" " * 300_000)
                assert answer.status_code == 413, answer.text
                assert client.get(SKELETON, params={"feed": FEED}).json()["feed"]

                askers = Askers(client, [network.token(person, SERVICE) for person in range(60)])
                askers.until(500)
                assert it.stop()[0] == 0
            with activated(tmp_path, public, network) as it:
                it.said("answering")
                askers.until(1500)
                askers.stop()
                print("restart under load:", dict(askers.outcomes), f"slowest {askers.slowest_s:.1f} s")
                assert set(askers.outcomes) == {"200"} and sum(askers.outcomes.values()) >= 1000
                assert askers.slowest_s < APPVIEW_LEAVES_S

                it.process.kill()
                it.process.wait()
                began_s = time.monotonic()
                answer = client.get(SKELETON, params={"feed": FEED})
                print(f"after a kill: {answer.status_code} in {time.monotonic() - began_s:.1f} s")
                assert answer.status_code == 200 and answer.json()["feed"]
                assert time.monotonic() - began_s < APPVIEW_LEAVES_S
            with activated(tmp_path, public, network) as it:
                it.said("answering")
                answer = client.get("/")
                assert answer.status_code == 200  # the files have no front page: this is the process again
