"""Debian's Caddy and the current one with our Caddyfile, in front of the real process: restarted, killed, lied to."""

from __future__ import annotations

import fnmatch
import itertools
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedgen.app import build
from feedgen.core.settings import Settings, Web
from feedgen.simnet.process import SimnetProcess
from tests.host import http3
from tests.host.as_systemd import Activated, public_socket
from tests.process import METHOD, PUBLISHER, SERVICE, of_network

pytestmark = pytest.mark.needs("caddy")

CADDYFILE = Path(__file__).parents[2] / "caddy" / "Caddyfile"
DESCRIBE = "/xrpc/app.bsky.feed.describeFeedGenerator"
SKELETON = f"/xrpc/{METHOD}"
INTERACTIONS = "/xrpc/app.bsky.feed.sendInteractions"
DID = "/.well-known/did.json"
FEED = f"at://{PUBLISHER}/app.bsky.feed.generator/popular"
APPVIEW_LEAVES_S = 5.0
SLACK_S = 1.0  # for a machine that is busy with something else
OPTIONS = """
    default_bind 127.0.0.1
    skip_install_trust
    auto_https disable_redirects
"""


def debians() -> str:
    """The system's own, also when a virtual environment is active."""
    ours = os.path.join(sys.prefix, "bin")
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != ours)
    return shutil.which("caddy", path=path) or "caddy"


@pytest.fixture(params=["debian", "current"], scope="module")
def program(request: pytest.FixtureRequest) -> str:
    return debians() if request.param == "debian" else os.path.join(sys.prefix, "bin", "caddy")


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Caddy:
    """Our Caddyfile, with a certificate of Caddy's own authority. `client` speaks HTTP/2."""

    def __init__(self, program: str, folder: Path, upstream: str) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"https://localhost:{self.port}"
        env = os.environ | {
            "FEEDGEN_SITE": self.url,
            "FEEDGEN_UPSTREAM": upstream,
            "FEEDGEN_FALLBACK": str(folder / "fallback"),
            "FEEDGEN_FALLBACK_PORT": str(free_port()),
            "FEEDGEN_CADDY_ADMIN": "off",
            "FEEDGEN_CADDY_OPTIONS": OPTIONS,
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "HOME": str(folder),
        }
        command = [program, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
        with (folder / "caddy.log").open("w") as log:
            self.process = subprocess.Popen(command, env=env, stderr=log)

    @property
    def authority(self) -> Path:
        return self.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def connect(self, **options: Any) -> httpx.Client:
        trusted = ssl.create_default_context(cafile=str(self.authority))
        options = {"http2": True, "verify": trusted, "timeout": 30, "trust_env": False} | options
        return httpx.Client(base_url=self.url, **options)

    def wait(self) -> None:
        """Until its certificate is there, and it answers."""
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            assert self.process.poll() is None, self.log
            with suppress(httpx.HTTPError, OSError), self.connect() as client:
                client.get("/nothing")
                return
            time.sleep(0.05)
        raise AssertionError(self.log)

    @property
    def log(self) -> str:
        return (self.folder / "caddy.log").read_text()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def caddy(program: str, folder: Path, upstream: str) -> Iterator[Caddy]:
    it = Caddy(program, folder, upstream)
    try:
        it.wait()
        yield it
    finally:
        it.stop()


class Upstream(BaseHTTPRequestHandler):
    """Well when Caddy looks. Tells what reached it; `/` is slow, did.json fails, /also-liked is long."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/":
            time.sleep(6)
        headers: dict[str, str] = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps(headers | {"padding": "x" * 5000} if self.path == "/also-liked" else headers).encode()
        self.send_response(503 if self.path.startswith("/.well-known") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("Server", "secret")
        self.send_header("Via", "secret")
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
        DID: {"id": SERVICE},
    }.items():
        path = folder / "fallback" / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))


def is_from_files(answer: httpx.Response) -> bool:
    return answer.headers.get("cache-control") == "no-store" and "authorization" not in answer.headers.get("vary", "")


def test_only_public_routes_and_headers_that_tell_nothing(program: str, tmp_path: Path, upstream: str) -> None:
    with caddy(program, tmp_path, upstream) as it, it.connect() as client:
        lies = {
            "x-forwarded-for": "1.2.3.4",
            "x-forwarded-host": "evil.example",
            "x-forwarded-proto": "gopher",
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
        assert told["x-forwarded-for"] == "127.0.0.1" and told["x-forwarded-host"].startswith("localhost")
        assert told["x-forwarded-proto"] == "https" and told["authorization"] == "Bearer x"
        assert "1.2.3.4" not in str(told) and "gopher" not in str(told) and "cookie" not in told
        assert not {"server", "via"} & set(answer.headers)
        assert all(client.get(path, headers=lies).json().get("cookie") == "a=b" for path in ("/my", "/my/people"))
        assert "cookie" not in client.get("/why", headers=lies).json()
        for path in ("/metrics", "/livez", "/readyz", "/xrpc/_health", "/nothing", "/xrpc/com.example.other"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
            assert not {"server", "via"} & set(answer.headers)
        answer = client.get("/xrpc/../metrics")
        assert answer.status_code == 404


def test_every_public_route_is_let_through_and_no_private_one() -> None:
    allowed = re.findall(r"^\t\tpath (.+)$", CADDYFILE.read_text().partition("handle @public")[0], re.MULTILINE)
    patterns = " ".join(allowed).split()

    def passes(path: str) -> bool:
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)

    site = build(Settings(web=Web(public=True))).site
    public = {row.path for row in site.rows(private=False)} | {SKELETON, DESCRIBE, INTERACTIONS, DID, "/also-liked"}
    assert {path for path in public if not passes(path)} == set()
    private = {row.path for row in site.rows(private=True)} - public | {
        "/metrics",
        "/livez",
        "/why.json",
        "/profile.json",
        "/xrpc/_health",
    }
    assert {path for path in private if passes(path)} == set()


async def test_http_1_2_and_3_with_a_certificate_and_compressed(program: str, tmp_path: Path, upstream: str) -> None:
    with caddy(program, tmp_path, upstream) as it:
        with it.connect(http2=False) as client:
            answer = client.get(DESCRIBE)
            assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")
        with it.connect() as client:
            answer = client.get(DESCRIBE)
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
            assert f'h3=":{it.port}"' in answer.headers["alt-svc"]
            for way in ("gzip", "zstd"):
                answer = client.get("/also-liked", headers={"accept-encoding": way})
                assert answer.headers["content-encoding"] == way and len(answer.json()["padding"]) == 5000
                assert int(answer.headers.get("content-length", "0")) < 1000
            assert "content-encoding" not in client.get("/also-liked", headers={"accept-encoding": ""}).headers
        status, body = await http3.get(it.port, DESCRIBE, it.authority)
        assert status == 200 and json.loads(body)["x-forwarded-proto"] == "https"
        status, body = await http3.get(it.port, "/metrics", it.authority)
        assert status == 404 and json.loads(body)["error"] == "NotFound"
        with pytest.raises(httpx.ConnectError), it.connect(verify=True) as client:
            client.get(DESCRIBE)  # nobody else knows this authority


def test_what_is_slow_or_broken_is_answered_from_the_files(program: str, tmp_path: Path, upstream: str) -> None:
    put_fallback(tmp_path)
    with caddy(program, tmp_path, upstream) as it, it.connect() as client:
        answer = client.get(DID)  # the upstream says 503
        assert (answer.status_code, answer.json()) == (200, {"id": SERVICE})
        assert answer.headers["content-type"] == "application/json"
        began_s = time.monotonic()
        answer = client.get("/")
        assert answer.status_code == 502 and answer.json()["error"] == "UpstreamFailure"
        assert time.monotonic() - began_s < 3 + SLACK_S


def test_nobody_at_home(program: str, tmp_path: Path) -> None:
    put_fallback(tmp_path)
    with caddy(program, tmp_path, f"127.0.0.1:{free_port()}") as it, it.connect() as client:
        for within_s in (3 + SLACK_S, SLACK_S):  # by the second one Caddy knows that nobody is there
            began_s = time.monotonic()
            answer = client.get(SKELETON, params={"feed": FEED, "limit": "30"})
            assert answer.status_code == 200 and len(answer.json()["feed"]) == 1
            assert is_from_files(answer) and not {"server", "via"} & set(answer.headers)
            assert time.monotonic() - began_s < within_s
        assert client.get(DESCRIBE).json() == {"did": SERVICE, "feeds": []}
        answer = client.get(SKELETON, params={"feed": FEED, "cursor": "x"})
        assert (answer.status_code, answer.json()) == (200, {"feed": []})
        answer = client.post(INTERACTIONS, json={"interactions": []})
        assert (answer.status_code, answer.json()["error"]) == (502, "UpstreamFailure")
        assert client.get("/metrics").status_code == 404


# --- before the real process


@pytest.fixture(scope="module")
def network() -> Iterator[SimnetProcess]:
    with SimnetProcess("--people", "80", "--days", "0.5", "--wait", "--rate", "5") as network:
        yield network


def activated(folder: Path, public: socket.socket, network: SimnetProcess, **settings: object) -> Activated:
    return Activated(
        folder,
        public,
        **settings,
        **of_network(network),
    )


@contextmanager
def egress(folder: Path) -> Iterator[str]:
    """`feedgen egress` as on the VPS, beside Caddy; its URL in the tunnel."""
    command = [sys.executable, "-m", "feedgen", "egress", "--bind", "127.0.0.1:0", "--allow", "127.0.0.1"]
    process = subprocess.Popen([*command, "--fallback", str(folder)], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = re.search(r"listening on (\S+)", process.stderr.readline())
        assert found is not None
        yield f"http://{found[1]}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


class Askers:
    """Callers who don't stop; how each answer went, and the slowest."""

    def __init__(self, it: Caddy, tokens: list[str], n: int = 4) -> None:
        self._it, self._tokens = it, itertools.cycle(tokens)
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(n)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with self._it.connect() as client:
            while not self._over.is_set():
                began_s = time.monotonic()
                try:
                    # Many readers: one alone, or nobody in particular, may not ask that often.
                    headers = {"authorization": f"Bearer {next(self._tokens)}"}
                    answer = client.get(SKELETON, params={"feed": FEED, "limit": "10"}, headers=headers)
                    good = answer.status_code == 200 and answer.json()["feed"]
                    outcome = ("files" if is_from_files(answer) else "feedgen") if good else str(answer.status_code)
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)

    def until(self, n: int, timeout_s: float = 90) -> None:
        deadline_s = time.monotonic() + timeout_s
        while sum(self.outcomes.values()) < n and time.monotonic() < deadline_s:
            time.sleep(0.05)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)


def until_from(client: httpx.Client, files: bool, timeout_s: float = 60) -> float:
    """Asks until the answer is from the files, or from the process; after how long it was."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + timeout_s:
        answer = client.get(SKELETON, params={"feed": FEED, "limit": "10"})
        assert answer.status_code == 200 and answer.json()["feed"], answer.text
        if is_from_files(answer) == files:
            return time.monotonic() - began_s
        time.sleep(0.1)
    raise AssertionError(f"waited {timeout_s:.0f} s")


def test_a_restart_under_load_a_body_too_large_and_a_kill(program: str, network: SimnetProcess, tmp_path: Path) -> None:
    with (
        public_socket() as public,
        caddy(program, tmp_path, "{}:{}".format(*public.getsockname())) as it,
        it.connect() as client,
        egress(tmp_path / "fallback") as vps,
    ):
        with activated(tmp_path, public, network, fallback__url=vps) as process:
            process.said("answering")
            # What the process pushes to the VPS is what Caddy answers with.
            process.wait_for((tmp_path / "fallback" / f"{SKELETON}.json"[1:]).exists, "the fallback on the VPS")
            until_from(client, files=False)

            answer = client.post(INTERACTIONS, content=b"{" + b" " * 300_000)
            assert answer.status_code == 413, answer.text
            assert client.get(SKELETON, params={"feed": FEED}).json()["feed"]

            askers = Askers(it, [network.token(person, SERVICE) for person in range(60)])
            askers.until(500)
            assert process.stop()[0] == 0
        with activated(tmp_path, public, network) as process:
            process.said("answering")
            askers.until(1500)
            askers.stop()
            print("restart under load:", dict(askers.outcomes), f"slowest {askers.slowest_s:.1f} s")
            assert set(askers.outcomes) <= {"feedgen", "files"} and sum(askers.outcomes.values()) >= 1000
            assert askers.slowest_s < APPVIEW_LEAVES_S

            until_from(client, files=False)
            process.process.kill()
            process.process.wait()
            first_s = until_from(client, files=True)
            next_s = min(until_from(client, files=True) for _ in range(20))
            print(f"kill -9: the files after {first_s:.1f} s, later pages in {next_s * 1000:.0f} ms")
            assert first_s < 3 + SLACK_S
        with activated(tmp_path, public, network) as process:
            process.said("answering")
            print(f"started again: feedgen after {until_from(client, files=False):.1f} s")
            assert client.get("/").status_code == 200  # the files have no front page
