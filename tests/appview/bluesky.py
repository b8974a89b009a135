"""Bluesky on loopback: a private Postgres, one process with PLC, PDS and AppView, and people who use them."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
PATIENCE_S = 120.0
START_S = 180.0  # of a network; 15 to 20 on an idle machine
ATTEMPTS = 3  # another process may have taken a port that was free a moment ago
ADMIN = ("admin", "admin-pass")  # what @atproto/dev-env gives its PDS
PASSWORD = "correct horse"


def until(look: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {patience_s:.0f} s for {what}")


class Failed(Exception):
    """A process that did not come up."""


class Process:
    """Keeps the last lines that it said, and ends with the test."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self.lines: deque[str] = deque(maxlen=200)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def wait_for_line(self, wanted: Callable[[str], bool], what: str) -> str:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            ended = self.process.poll() is not None
            for line in list(self.lines):
                if wanted(line):
                    return line
            if ended:
                break
            time.sleep(0.1)
        raise Failed(f"{what} did not start:\n" + "\n".join(self.lines))

    def stop(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(5)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def postgres_program(name: str) -> str:
    """Debian keeps the server's programs out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    program = shutil.which(name) or (str(found[-1]) if found else None)
    if program is None:
        raise Failed(f"{name} is missing: requirements/system.txt names the package")
    return program


@contextmanager
def postgres() -> Iterator[str]:
    """A cluster of its own in a temporary folder; the URL of its database."""
    as_owner: list[str] = ["setpriv", "--pdeathsig", "INT"]
    # Root's own temporary folder may be closed to whom Postgres runs as.
    folder = Path(tempfile.mkdtemp(prefix="feedgen-postgres-", dir="/tmp" if os.geteuid() == 0 else None))
    try:
        if os.geteuid() == 0:  # which Postgres refuses
            owner = next(p for name in ("postgres", "nobody") for p in pwd.getpwall() if p.pw_name == name)
            as_owner += [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        make = [*as_owner, postgres_program("initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "postgres"]
        made = subprocess.run(
            [*make, "-E", "UTF8", "--locale=C", "-N"], cwd=folder, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise Failed(f"initdb failed:\n{made.stdout}{made.stderr}")
        server, port = _start_postgres(folder, [*as_owner, postgres_program("postgres")])
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.stop(2)  # SIGINT: fast shutdown
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start_postgres(folder: Path, command: list[str]) -> tuple[Process, int]:
    for attempt in range(ATTEMPTS):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 200,
            "shared_buffers": "64MB",
        }
        given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        server = Process([*command, "-D", str(folder / "data"), *given], cwd=folder)
        try:
            server.wait_for_line(lambda line: "ready to accept connections" in line, "Postgres")
            return server, port
        except Failed:
            server.stop(2)
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError


@dataclass
class Account:
    """Somebody with a session at the PDS."""

    network: Network
    name: str
    did: str
    token: str

    def headers(self, **more: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", **more}

    def post(self, method: str, body: dict[str, Any] | None, **headers: str) -> dict[str, Any]:
        return self.network.post(method, body, headers=self.headers(**headers))

    def create(self, *records: dict[str, Any]) -> list[dict[str, Any]]:
        """Many at once; each answer has `uri` and `cid`."""
        writes = [
            {"$type": "com.atproto.repo.applyWrites#create", "collection": record["$type"], "value": record}
            for record in records
        ]
        answer = self.post("com.atproto.repo.applyWrites", {"repo": self.did, "writes": writes})
        found: list[dict[str, Any]] = answer["results"]
        return found

    def put(self, rkey: str, record: dict[str, Any]) -> str:
        body = {"repo": self.did, "collection": record["$type"], "rkey": rkey, "record": record}
        return str(self.post("com.atproto.repo.putRecord", body)["uri"])

    def delete(self, uri: str) -> None:
        repo, collection, rkey = uri.removeprefix("at://").split("/")
        self.post("com.atproto.repo.deleteRecord", {"repo": repo, "collection": collection, "rkey": rkey})

    def write(self, *texts: str) -> list[Post]:
        made = self.create(*({"$type": "app.bsky.feed.post", "text": text, "langs": ["en"], **now()} for text in texts))
        return [Post(self, one["uri"], one["cid"]) for one in made]

    def like(self, *posts: Post) -> list[str]:
        subjects = [{"uri": post.uri, "cid": post.cid} for post in posts]
        made = self.create(*({"$type": "app.bsky.feed.like", "subject": subject, **now()} for subject in subjects))
        return [one["uri"] for one in made]

    def repost(self, *posts: Post) -> list[str]:
        subjects = [{"uri": post.uri, "cid": post.cid} for post in posts]
        made = self.create(*({"$type": "app.bsky.feed.repost", "subject": subject, **now()} for subject in subjects))
        return [one["uri"] for one in made]

    def get_feed(self, feed: str, **query: Any) -> httpx.Response:
        """As the app does: from one's own PDS, which asks the AppView."""
        return self.network.client.get(
            f"{self.network.pds}/xrpc/app.bsky.feed.getFeed", params={"feed": feed, **query}, headers=self.headers()
        )


@dataclass(frozen=True)
class Post:
    author: Account
    uri: str
    cid: str


def now() -> dict[str, str]:
    return {"createdAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}


@dataclass
class Network:
    plc: str
    pds: str
    appview: str
    jetstream: str
    labeler: str
    control: str
    feed_did: str
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=PATIENCE_S, trust_env=False))

    def post(self, method: str, body: dict[str, Any] | None, **options: Any) -> dict[str, Any]:
        answer = self.client.post(f"{self.pds}/xrpc/{method}", json=body, **options)
        assert answer.status_code == 200, f"{method}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}

    def join(self, name: str) -> Account:
        handle = {"handle": f"{name}.test", "email": f"{name}@example.com", "password": PASSWORD}
        made = self.post("com.atproto.server.createAccount", handle)
        account = Account(self, name, made["did"], made["accessJwt"])
        account.put("self", {"$type": "app.bsky.actor.profile", "displayName": name, **now()})
        return account

    def admin(self, method: str, body: dict[str, Any]) -> None:
        self.post(method, body, auth=ADMIN)

    def label(self, of: Account | Post, val: str, neg: bool = False) -> None:
        """A word of the labeler's moderator, or its taking back."""
        if isinstance(of, Post):
            subject = {"$type": "com.atproto.repo.strongRef", "uri": of.uri, "cid": of.cid}
        else:
            subject = {"$type": "com.atproto.admin.defs#repoRef", "did": of.did}
        answer = self.client.post(f"{self.control}/label", json={"subject": subject, "val": val, "neg": neg})
        assert answer.status_code == 200, answer.text

    def settle(self) -> int:
        """Until the AppView has heard all that was said; the bridge's time of that, which a listener must reach."""
        answer = self.client.post(f"{self.control}/settle", timeout=300)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["last_us"])


@contextmanager
def network(packages: Path, database: str, endpoint: str) -> Iterator[Network]:
    """Runs for as long as it is needed. `packages` is where tests/appview/install put them."""
    for file in (HERE / "network").glob("*.mjs"):
        shutil.copy(file, packages)  # a module finds packages in the folders above it
    node = next(packages.glob("node_modules/node-linux-*/bin/node"))
    with tempfile.TemporaryDirectory(prefix="feedgen-bluesky-") as folder:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "TMPDIR": folder,  # of the PDS's files
            "NODE_ENV": "development",
            "LOG_ENABLED": "false",
            "DB_POSTGRES_URL": database,
            "REDIS_HOST": "127.0.0.1:1",  # must be there, and is not used
        }
        process = _start_network([str(node), str(packages / "network.mjs"), endpoint], packages, environment)
        try:
            line = process.wait_for_line(lambda line: line.startswith('{"plc"'), "Bluesky")
            found = Network(**json.loads(line))
            with found.client:
                yield found
        finally:
            process.stop(15)


def _start_network(command: list[str], folder: Path, environment: dict[str, str]) -> Process:
    for attempt in range(ATTEMPTS):
        # A schema of its own, for an attempt that failed leaves its tables.
        process = Process(command, cwd=folder, env={**environment, "DB_POSTGRES_SCHEMA": "bluesky_" + "abc"[attempt]})
        try:
            process.wait_for_line(lambda line: line.startswith('{"plc"'), "Bluesky")
            return process
        except BaseException as error:
            process.stop(15)
            if attempt == ATTEMPTS - 1 or not isinstance(error, Failed):
                raise
    raise AssertionError
