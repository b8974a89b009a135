"""Trust: what it costs to know who asks, the table of attacks, and the whole service under attack.

    --set table=true         prints every token and request of the table with its expected and its actual answer
    --set hostile=1000000    more of the attack, with the service's memory on the way
    --set target=public      on what strangers reach alone, which is quicker

Tokens are signed beforehand and each is new; keys are in memory, as for a known reader. `trust.remembered_us` is the
same token again. The attack (_attack.py) is on `feedgen run` in a process of its own on a made-up network, while one
honest reader goes on reading. Its memory is what is its own (`RssAnon`): files that are mapped don't count. The
connections are those of a second, shorter attack, on a process that notes each (_watched.py).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from atproto_server.auth.jwt import verify_jwt

from feedgen.core.clock import SystemClock
from feedgen.serve.who.auth import SKELETON_METHODS
from feedgen.serve.who.keys import K256, P256, SigningKey
from feedgen.serve.who.tokens import TokenVerifier
from feedgen.simnet.process import SimnetProcess
from feedgen.simnet.server import Addresses
from feedgen.store.pages import Outcome, ShownPage
from feedgen.store.viewers import Viewers
from tests.serve.accounts import CODECS, Keypair, base58, plc
from tests.serve.parts import SKELETON

from . import Figure, Params
from ._attack import Attack, Directory, Hostile, Proxy, Target, Trap
from ._attack_table import rows
from ._service import AUDIENCE, FEED, Service, stopping

PARAMETERS = {
    "tokens": 2_000,
    "table": False,
    "hostile": 20_000,  # requests
    "target": "whole",  # of these: the service, or its public side alone
    "watched": 4_000,  # requests while connections are noted
    "connections": 16,
    "seed": 1,
}
MARKS = (5_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)  # requests after which memory is told
NETWORK = ("--people", "300", "--days", "1", "--rate", "0.1", "--wait", "--lookback-h", "-1")
READER_S = 0.6
READER = plc("reader")


class OneKey:
    def __init__(self, key: SigningKey) -> None:
        self._key = key

    async def key(self, did: str, may_look_up: bool = True) -> SigningKey:
        return self._key

    async def fresher_key(self, did: str) -> SigningKey | None:
        return self._key


def run(params: Params) -> Iterator[Figure]:
    for algorithm, name in ((K256, "k256"), (P256, "p256")):
        yield from _verifying(Keypair(algorithm, 11), name, int(params["tokens"]))
    yield from asyncio.run(_served_bytes())
    yield from _table(bool(params["table"]))
    yield from hostile(params)
    yield from connections(params)


def _verifying(pair: Keypair, name: str, n: int) -> Iterator[Figure]:
    now_s = int(time.time())
    claims = {"iss": READER, "aud": AUDIENCE, "exp": now_s + 3000, "iat": now_s, "lxm": "app.bsky.feed.getFeed"}
    # The SDK refuses a high S.
    tokens = [pair.token({**claims, "jti": f"{i}"}, high_s=False) for i in range(n)]
    ours = TokenVerifier(AUDIENCE, OneKey(pair.public), SystemClock())

    async def verify(some: list[str]) -> float:
        start_s = time.process_time()
        for token in some:
            assert await ours.verify(token, SKELETON_METHODS) == READER
        return (time.process_time() - start_s) / len(some) * 1e6

    yield Figure(f"trust.verify_{name}_us", asyncio.run(verify(tokens)), "us", "CPU a new token, key in memory")
    yield Figure(f"trust.remembered_{name}_us", asyncio.run(verify(tokens[-1000:])), "us", "CPU, verified before")
    key = "did:key:z" + base58(CODECS[pair.algorithm] + pair.point())
    start_s = time.process_time()
    for token in tokens:
        verify_jwt(token, lambda did, fresh: key, AUDIENCE)
    yield Figure(f"trust.sdk_{name}_us", (time.process_time() - start_s) / n * 1e6, "us", "CPU, the SDK's verifier")


async def _served_bytes(pages: int = 6_000, posts: int = 30) -> list[Figure]:
    """What pages take in viewers.db, all files and indexes; and with each post told as seen, in calls of ten."""
    at_us, figures = 1_790_000_000_000_000, []
    for name, told in (("trust.bytes_a_post_served", False), ("trust.bytes_a_post_served_and_told", True)):
        with tempfile.TemporaryDirectory() as folder:
            async with await Viewers.open(Path(folder)) as viewers:
                empty = await viewers.pages.used_bytes()
                for n in range(pages):
                    reader = hash((n % 997, "reader")) & (1 << 64) - 1
                    numbers = [(n * 7919 + i * 104_729) % (1 << 32) for i in range(posts)]
                    page = ShownPage(at_us + n * 1000, reader, "for-you", "default", at_us, 0, numbers, [3] * posts)
                    some = [
                        Outcome(page.at_us + 60_000_000 + i, reader, at_us, numbers[i : i + 10], [0] * 10, [3] * 10)
                        for i in range(0, posts, 10)
                    ]
                    await viewers.pages.put([page], some if told else [])
                used = await viewers.pages.used_bytes() - empty
            figures.append(Figure(name, used / (pages * posts), "B", f"{pages} pages of {posts} posts; asked: 40"))
    return figures


def _table(printed: bool) -> list[Figure]:
    wrong = total = 0
    for row in asyncio.run(rows()):
        total += 1
        wrong += row.is_wrong
        if printed or row.is_wrong:
            print(f"    {'WRONG ' if row.is_wrong else ''}{row.what:<64} {row.expected:<28} {row.actual}")
    return [
        Figure("trust.table_rows", total, "attacks", "printed with --set table=true"),
        Figure("trust.table_wrong", wrong, "attacks", "answered otherwise than expected"),
    ]


class PublicSide(Service):
    """What strangers reach, alone (_public.py)."""

    def __init__(self, folder: Path, urls: Addresses, plc: str) -> None:
        self._log = (folder / "service.log").open("a+")
        program = [sys.executable, "-m", "scripts.benchmarks._public", str(folder), plc, urls.appview]
        self.process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=self._log)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def idle(self, at_least: int = 1) -> None:
        """It listens to nothing."""


class Watched(Service):
    """The same service, which notes its connections, and asks strangers' hosts through the operator's proxy."""

    def __init__(self, folder: Path, urls: Addresses, plc: str, proxy: str) -> None:
        self.notes = folder / "connections"
        more = {"appview.url": urls.appview, "labels.enabled": "true", "labels.urls": urls.labeler}
        more |= {"identity.did_web": "proxy", "identity.pds": "proxy", "identity.proxy_url": proxy}
        program = (sys.executable, "-m", "scripts.benchmarks._watched", str(self.notes))
        super().__init__(folder, urls.jetstream[0], plc, urls.pds, program, more)


@dataclass
class Scene:
    network: SimnetProcess
    service: Service
    directory: Directory
    proxy: Proxy
    trap: Trap
    attack: Attack
    reader: Reader


@contextmanager
def attackers(params: Params, target: str) -> Iterator[Scene]:
    """`target` is the `whole` service, its `public` side alone, or the whole one, `watched`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        network = stack.enter_context(SimnetProcess(*NETWORK))
        trap, proxy = stack.enter_context(closing(Trap())), stack.enter_context(closing(Proxy()))
        urls = network.urls
        directory = stack.enter_context(closing(Directory(urls.plc, trap)))
        if target == "watched":
            service: Service = Watched(folder, urls, directory.url, proxy.url)
        elif target == "public":
            service = PublicSide(folder, urls, directory.url)
        else:
            service = Service(folder, urls.jetstream[0], directory.url, urls.pds)
        stack.enter_context(stopping(service))
        service.idle()
        known = [one["did"] for one in network.control("readers?k=20")]
        hostile = Hostile(Target(AUDIENCE, FEED, known), directory, trap, int(params["seed"]))
        attack = Attack(hostile, service.port, int(params["connections"]))
        yield Scene(network, service, directory, proxy, trap, attack, Reader(network, service.port))


def hostile(params: Params) -> Iterator[Figure]:
    n = int(params["hostile"])
    with attackers(params, str(params["target"])) as scene:
        service, attack = scene.service, scene.attack
        cpu_s, start_s = service.cpu_s, time.monotonic()
        for mark, own in uvloop.run(_memory_under_attack(scene, [*(mark for mark in MARKS if mark < n), n])):
            yield Figure(f"trust.memory_mb_after_{mark}", own / 1e6, "MB")
        took_s, cpu_s = time.monotonic() - start_s, service.cpu_s - cpu_s
        for kind, counts in sorted(attack.tally.statuses.items()):
            told = ", ".join(f"{status or 'closed'}: {count}" for status, count in sorted(counts.items()))
            print(f"    {kind:<36} {told}")
        sent, kinds = attack.tally.sent, len(attack.tally.statuses)
        yield Figure("trust.hostile_requests", sent, "requests", f"{sent / took_s:.0f}/s, of {kinds} kinds")
        yield Figure("trust.hostile_500", attack.tally.count(500), "requests", "answers that are a bug of ours")
        yield Figure("trust.hostile_cpu_us", cpu_s / sent * 1e6, "us", "CPU of the service a request, all its threads")
        yield Figure("trust.silent_cut_off", attack.cut_off, "connections", "that never finished asking")
        asked, most = len(scene.directory.asked), scene.directory.most_in(10.0)
        yield Figure("trust.directory_asked", asked, "look-ups", f"at most {most} within 10 s")
        told = f"of {scene.reader.pages} of an honest reader meanwhile, {scene.reader.personal} personal"
        yield Figure("trust.reader_errors", scene.reader.errors, "pages", told)


async def _memory_under_attack(scene: Scene, marks: list[int]) -> list[tuple[int, int]]:
    found = []
    async with scene.attack:
        for mark in marks:
            await scene.attack.send(mark, scene.reader.read)
            found.append((mark, _own_memory(scene.service)))
            print(f"    after {mark} requests {found[-1][1] / 1e6:.1f} MB", flush=True)
    return found


def _own_memory(service: Service) -> int:
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def connections(params: Params) -> Iterator[Figure]:
    with attackers(params, "watched") as scene:
        uvloop.run(_memory_under_attack(scene, [int(params["watched"])]))
        assert isinstance(scene.service, Watched)
        noted = Counter(scene.service.notes.read_text().splitlines())
        configured, foreign = _configured(scene), 0
        for note, count in noted.most_common():
            setting = configured.get(note.partition(" ")[2], "")
            foreign += not setting
            print(f"    {note:<36} {count:>5} times  {setting or 'NOT CONFIGURED'}")
        for to, count in sorted(scene.proxy.asked.items()):
            print(f"    the proxy, for {to:<36} {count:>5} times")
        sent = scene.attack.tally.sent
        yield Figure("trust.connections", sum(noted.values()), "connections", f"under {sent} hostile requests")
        yield Figure("trust.connections_foreign", foreign, "places", "or names that are not in the settings")
        near = [to for to in scene.proxy.asked if not to.endswith("attacker.example.com:443")]
        yield Figure(
            "trust.proxy_near", len(near), "places", f"not public, of {len(scene.proxy.asked)} asked of the proxy"
        )
        yield Figure("trust.trap_knocks", scene.trap.knocks, "connections", "to the port that attackers named")


def _configured(scene: Scene) -> dict[str, str]:
    """Setting by `host:port`."""
    urls = scene.network.urls
    settings = {
        "jetstream.urls": urls.jetstream[0],
        "identity.plc_url": scene.directory.url,
        "identity.trusted_pds": urls.pds,
        "identity.proxy_url": scene.proxy.url,
        "appview.url": urls.appview,
        "labels.urls": urls.labeler,
    }
    return {urlsplit(url).netloc: name for name, url in settings.items()}


class Reader:
    """Somebody honest, who reads on while the service is attacked."""

    def __init__(self, network: SimnetProcess, port: int) -> None:
        self._network, self._url = network, f"http://127.0.0.1:{port}{SKELETON}?feed={FEED}&limit=30"
        self._person = network.control("readers?k=1")[0]["person"]
        self.pages = self.errors = self.personal = 0

    async def read(self) -> None:
        while True:
            await asyncio.to_thread(self._page)
            await asyncio.sleep(READER_S)

    def _page(self) -> None:
        token = self._network.token(self._person, AUDIENCE, lifetime_s=600)
        request = urllib.request.Request(self._url, headers={"authorization": f"Bearer {token}"})
        self.pages += 1
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                self.personal += b'"likes ' in answer.read()
        except OSError:
            self.errors += 1
