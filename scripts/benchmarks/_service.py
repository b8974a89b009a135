"""What the benchmarks of serving run: the service, Caddy before it, readers who ask, a flood to hear."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from feedgen.host.vps import caddyfile
from scripts.benchmarks import Params
from scripts.benchmarks.flood import FloodProcess

FIRST_SHARE = 0.45
HOST = "feed.example.com"
AUDIENCE = f"did:web:{HOST}"
PUBLISHER = "did:plc:publisheraaaaaaaaaaaaaaa"
FEED = f"at://{PUBLISHER}/app.bsky.feed.generator/for-you"
SEED = 1
PATIENCE_S = 600.0
QUIET_S = 3.0  # longer than the service gathers old events for
TICKS_S = os.sysconf("SC_CLK_TCK")
FILES = {
    "xrpc/app.bsky.feed.getFeedSkeleton.json": {"feed": [{"post": "at://did:plc:a/app.bsky.feed.post/3kaaaaaaaaa2a"}]},
    "xrpc/app.bsky.feed.describeFeedGenerator.json": {},
    ".well-known/did.json": {},
}


class Service:
    """`feedgen run` in a process of its own."""

    def __init__(
        self,
        folder: Path,
        jetstream: str,
        plc: str,
        pds: str = "",
        program: Sequence[str] = (sys.executable, "-m", "feedgen"),
        more: Mapping[str, str] = MappingProxyType({}),
        caddy: bool = False,
    ) -> None:
        """With `caddy` readers ask through one (`front_port`)."""
        settings = {
            "store.dir": folder / "data",
            "service.hostname": HOST,
            "service.publisher_did": PUBLISHER,
            "service.bind": "127.0.0.1:0",
            "log.format": "json",
            "jetstream.urls": jetstream,
            "identity.plc_url": plc,
            "labels.enabled": "false",
        } | ({"identity.trusted_pds": pds} if pds else {})
        settings.update(more)
        command = [*program, "run"]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        self._log = (folder / "service.log").open("a+")
        self._log.seek(0, os.SEEK_END)
        self._from = self._log.tell()
        self.process = subprocess.Popen(command, stderr=self._log)
        self.port = self._wait(self._bound)
        self.caddy = Caddy(folder, self.port) if caddy else None
        self.front_port = self.port if self.caddy is None else self.caddy.port

    def _bound(self) -> int:
        self._log.seek(self._from)
        for line in self._log:
            if '"answering"' in line and line.endswith("\n"):
                return int(json.loads(line)["bind"].rpartition(":")[2])
        return 0

    def _wait(self, look: Any, every_s: float = 0.1) -> Any:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            if found := look():
                return found
            if self.process.poll() is not None:
                self._log.seek(self._from)
                raise RuntimeError(f"the service ended: {self._log.read()[-2000:]}")
            time.sleep(every_s)
        raise RuntimeError("the service takes too long")

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/xrpc/_health", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def idle(self, at_least: int = 1) -> None:
        """Until everything that was told is in, and what was kept is read, and nothing more comes."""
        last = -1

        def still() -> bool:
            nonlocal last
            told = self.health()
            before, last = last, told["jetstream"]["events"]
            return bool(told["store"]["whole"] and last == before and last >= at_least)

        self._wait(still, QUIET_S)

    def live(self) -> None:
        """Until what comes is new."""

        def new() -> bool:
            behind_s = self.health()["jetstream"]["behind_s"]
            return behind_s is not None and bool(behind_s < QUIET_S)

        self._wait(new)

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.process)

    @property
    def loop_s(self) -> float:
        """CPU seconds of the event loop, which is the first thread."""
        told = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/schedstat").read_text()
        return int(told.split()[0]) / 1e9

    def stop(self) -> None:
        if self.caddy is not None:
            self.caddy.stop()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        self._log.close()


def cpu_s(process: subprocess.Popen[Any]) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


class Readers:
    """The load generator."""

    def __init__(self, params: Params) -> None:
        command = [sys.executable, "-m", "scripts.benchmarks._load"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        config = {
            "port": 0,
            "feed": FEED,
            "audience": AUDIENCE,
            "seed": SEED,
            "people": params["people"],
            "readers": params["readers"],
            "first_share": FIRST_SHARE,
        }
        made = self.ask(config)
        self.dids, self.keys = made["dids"], made["keys"]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def phase(self, service: Service, network: FloodProcess, rate: float, seconds: float) -> dict[str, Any]:
        """So many pages a second, and the other requests that go with them. CPU is counted for each page."""
        used, lists, loop_s = self._used(service, network), service.health()["lists"], service.loop_s
        found = self.ask({"port": service.front_port, "rate": rate, "seconds": seconds})
        used = {name: value - used[name] for name, value in self._used(service, network).items()}
        found["service_ms"] = used["service"] * 1000 / max(found["pages"], 1)
        found["loop_ms"] = (service.loop_s - loop_s) * 1000 / max(found["pages"], 1)
        found["cores"] = {name: value / found["took_s"] for name, value in used.items()}
        found["lists"] = {k: v - lists.get(k, 0) for k, v in service.health()["lists"].items() if v > lists.get(k, 0)}
        return found

    def _used(self, service: Service, network: FloodProcess) -> dict[str, float]:
        """CPU seconds of everybody who shares the machine in a benchmark."""
        caddy_s = cpu_s(service.caddy.process) if service.caddy is not None else 0.0
        own = {"service": service.cpu_s, "caddy": caddy_s, "readers": cpu_s(self.process)}
        return own | {"network": cpu_s(network.process)}

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def stopping(*parts: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for part in parts:
            part.stop()


def known_accounts(folder: Path, dids: list[str], keys: list[str]) -> None:
    """Readers whose documents were looked up before, as nearly all are."""
    from feedgen.store.viewers import Account, Viewers

    async def put() -> None:
        (folder / "data").mkdir(exist_ok=True)
        async with await Viewers.open(folder / "data") as viewers:
            for did, key in zip(dids, keys, strict=True):
                account = Account(did, "Multikey", key, "", "", time.time_ns() // 10**9)
                await viewers.put_account(account)

    asyncio.run(put())


class Caddy:
    """The Caddyfile of `feedgen vps`, without TLS, in front of the service: it pools its connections.

    It has files for when the service can't answer, as the VPS has, and somebody to send its log to. Without them each
    page that Caddy answers in an overloaded service's place would be counted as an error of the service.
    """

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.port = free_port()
        home = folder / "caddy"
        for path, answer in FILES.items():
            file = home / "fallback" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(answer))
        self._log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # nobody reads it
        self._log.bind(("127.0.0.1", 0))
        (home / "Caddyfile").write_text(caddyfile())
        env = os.environ | {
            "FEEDGEN_SITE": f"http://:{self.port}",
            "FEEDGEN_UPSTREAM": f"127.0.0.1:{upstream_port}",
            "FEEDGEN_FALLBACK": str(home / "fallback"),
            "FEEDGEN_FALLBACK_PORT": str(free_port()),
            "FEEDGEN_LOG_PORT": str(self._log.getsockname()[1]),
            "FEEDGEN_CADDY_ADMIN": "off",
            "FEEDGEN_CADDY_OPTIONS": "default_bind 127.0.0.1",
            "XDG_DATA_HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "HOME": str(home),
        }
        command = ["caddy", "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]
        with (home / "log").open("w") as log:
            self.process = subprocess.Popen(command, env=env, stderr=log)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"Caddy does not start: {(home / 'log').read_text()[-500:]}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def said(found: dict[str, Any]) -> str:
    lists = ", ".join(f"{count} {kind}" for kind, count in found["lists"].items())
    cores = ", ".join(f"{name} {used:.2f}" for name, used in found["cores"].items())
    errors = f", errors {found['errors']}" if found["errors"] else ""
    files = f", {found['files']} pages from the VPS's files" if found["files"] else ""
    return (
        f"{found['rate']:.0f} pages/s of {found['all_rate']:.0f} requests/s, "
        f"p50 {found['p50_ms']:.1f} p90 {found['p90_ms']:.1f} max {found['max_ms']:.0f} ms; "
        f"CPU {found['service_ms']:.2f} ms a page, {found['loop_ms']:.2f} of it the event loop's; "
        f"cores: {cores}; lists: {lists}; {found['items']:.1f} posts a page{files}{errors}"
    )


def errors_of(found: dict[str, Any]) -> int:
    return int(sum(found["errors"].values()) + found["sent"] - found["answered"])


def flood(params: Params, *more: str) -> FloodProcess:
    words = ["--seed", str(SEED), "--people", str(params["people"]), "--hosts", "v2", "--batched", *more]
    return FloodProcess(*words, "--lookback-h", "-1")
