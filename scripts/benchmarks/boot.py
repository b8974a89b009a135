"""From the start of a killed process to its first personal page, and the memory it then needs, by ratings on disk.

The whole process: `feedgen run`, asked over HTTP with a signed token, as the AppView would. Filling takes a minute for
every 25M ratings and more; a `folder` that is given is filled once, kept, and used again.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from feedgen.simnet.process import SimnetProcess
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.flood import FloodProcess
from scripts.benchmarks.loading import filled

PARAMETERS = {"ratings": 10_000_000, "readers": 200, "folder": ""}
SERVICE = "did:web:feed.example.com"
PUBLISHER = "did:plc:publisheraaaaaaaaaaaaaaa"
FEED = f"at://{PUBLISHER}/app.bsky.feed.generator/for-you"
METHOD = "app.bsky.feed.getFeedSkeleton"
PATIENCE_S = 300.0


def run(params: Params) -> Iterable[Figure]:
    given = str(params["folder"])
    folder = Path(given or tempfile.mkdtemp(prefix="feedgen-boot-"))
    try:
        kept, people = filled(folder, int(params["ratings"]))
        words = ("--ratings", "1000", "--people", str(people), "--hosts", "v2", "--max-rate", "1")
        with FloodProcess(*words) as sim:
            yield from _measure(folder, sim, kept, int(params["readers"]))
    finally:
        if not given:
            shutil.rmtree(folder)


def _measure(folder: Path, sim: SimnetProcess, kept: int, readers: int) -> Iterable[Figure]:
    service = Service(folder, sim)
    service.first_personal_page()  # makes the sidecars, and settles what a first start settles
    service.wait_until_counted()
    service.process.kill()
    service.process.wait()
    days = len(list((folder / "data" / "days").glob("*.db")))
    size = sum(path.stat().st_blocks * 512 for path in (folder / "data").rglob("*") if path.is_file())
    yield Figure("boot.ratings", kept, "ratings", f"{days} days")
    yield Figure("boot.disk_bytes_per_rating", size / kept, "B", f"{size / 1e9:.1f} GB, every file counted")
    service = Service(folder, sim)
    try:
        took_s, listening_s = service.first_personal_page()
        note = f"after SIGKILL, {kept / 1e6:.0f}M ratings; listens after {listening_s:.2f} s"
        cpu_s = service.cpu_ticks() / os.sysconf("SC_CLK_TCK")
        yield Figure("boot.first_personal_page_s", took_s, "s", note)
        yield Figure(
            "boot.first_personal_page_cpu_s", cpu_s, "s", "of CPU, all threads: what other work does not change"
        )
        whole_s = service.wait_until_whole()
        cpu_s = service.cpu_ticks() / os.sysconf("SC_CLK_TCK")
        yield Figure("boot.today_read_s", whole_s, "s", "until today's log is read, too, and pages made of it")
        yield Figure("boot.today_read_cpu_s", cpu_s, "s", "of CPU until then")
        service.wait_until_counted()
        yield _memory(service, kept, readers)
    finally:
        service.process.kill()
        service.process.wait()


def _memory(service: Service, kept: int, readers: int) -> Figure:
    """What is touched is found by asking twice: the kernel maps whole neighbourhoods of a page that is first asked
    for, and forgets on demand which of them were used.
    """
    for person in range(readers):
        service.page(person)
    service.forget_touched()
    before = service.cpu_ticks()
    for person in range(readers):
        service.page(person)
    cpu_ms = (service.cpu_ticks() - before) / os.sysconf("SC_CLK_TCK") / readers * 1e3
    own, touched, mapped = service.resident()
    note = (
        f"{own / 1e6:,.0f} MB own, {touched / 1e6:,.0f} MB of sidecars touched by pages for {readers} readers, "
        f"{mapped / 1e6:,.0f} MB mapped by the kernel on that occasion; {cpu_ms:.1f} ms of CPU a page"
    )
    return Figure("memory.bytes_per_rating", (own + touched) / kept, "B", note)


class Service:
    """`sim` tells who readers are, and gives the stream unless there is another to `listen_to`."""

    def __init__(self, folder: Path, sim: SimnetProcess, listen_to: SimnetProcess | None = None) -> None:
        self.sim, self.started_s = sim, time.perf_counter()
        given: dict[str, Any] = {
            "store.dir": folder / "data",
            "store.retention_days": 120,
            "service.hostname": "feed.example.com",
            "service.publisher_did": PUBLISHER,
            "service.bind": f"unix:{folder}/socket",
            "jetstream.urls": ",".join((listen_to or sim).urls.jetstream),
            "identity.plc_url": sim.urls.plc,
            "labels.enabled": "false",
            "log.format": "json",
        }
        self.path = str(folder / "socket")
        words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
        self.log = (folder / "log").open("ab")
        self.process = subprocess.Popen([sys.executable, "-m", "feedgen", "run", *words], stderr=self.log)

    def page(self, person: int, limit: int = 30) -> dict[str, Any]:
        return self.page_for(self.sim.token(person, SERVICE), limit)

    def page_for(self, token: str, limit: int = 30) -> dict[str, Any]:
        query = urllib.parse.urlencode({"feed": FEED, "limit": limit})
        return self._get(f"/xrpc/{METHOD}?{query}", {"authorization": f"Bearer {token}"})

    def events(self) -> int:
        """How many came from the network since the start."""
        return int(self._get("/xrpc/_health", {})["jetstream"]["events"])

    def _get(self, path: str, headers: dict[str, str]) -> dict[str, Any]:
        connection = _UnixConnection(self.path)
        connection.request("GET", path, headers=headers)
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def first_personal_page(self) -> tuple[float, float]:
        """(seconds from the start to it, to the first answer of any kind)."""
        listening_s = 0.0
        while time.perf_counter() - self.started_s < PATIENCE_S:
            try:
                page = self.page(0)
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError("the service ended; its log is in the folder") from None
                time.sleep(0.01)
                continue
            listening_s = listening_s or time.perf_counter() - self.started_s
            if any(item.get("feedContext", "").startswith("likes") for item in page.get("feed", [])):
                return time.perf_counter() - self.started_s, listening_s
            time.sleep(0.01)
        raise RuntimeError("no personal page came")

    def wait_until_whole(self) -> float:
        """Seconds from the start until today counts as well."""
        while not self._get("/xrpc/_health", {})["store"]["whole"]:
            time.sleep(0.05)
        return time.perf_counter() - self.started_s

    def wait_until_heard(self) -> None:
        """Until events come."""
        while not self.events():
            time.sleep(0.05)

    def wait_until_counted(self) -> None:
        """Until nothing goes on in the background: its CPU time stands still."""
        self.wait_until_whole()
        quiet = 0
        while quiet < 3:
            before = self.cpu_ticks()
            time.sleep(1.0)
            quiet = quiet + 1 if self.cpu_ticks() - before < 10 else 0

    def cpu_ticks(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def forget_touched(self) -> None:
        """From here on, what is touched counts anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("1")

    def resident(self) -> tuple[int, int, int]:
        """(bytes of its own, bytes of sidecars touched since they were forgotten, bytes of them that are mapped)."""
        own = touched = mapped = 0
        sidecar = False
        for line in Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            first = line.split(maxsplit=1)[0]
            if not first.endswith(":"):
                sidecar = line.endswith(".idx")
            elif first == "Anonymous:":
                own += int(line.split()[1]) * 1024
            elif first == "Referenced:" and sidecar:
                touched += int(line.split()[1]) * 1024
            elif first == "Rss:" and sidecar:
                mapped += int(line.split()[1]) * 1024
        return own, touched, mapped


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)
