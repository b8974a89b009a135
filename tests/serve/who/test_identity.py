"""The resolver against a directory on a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from feedgen.core.clock import ManualClock
from feedgen.core.errors import StoreError
from feedgen.core.settings_network import Identity
from feedgen.serve.http.server import Server
from feedgen.serve.out import addresses, fetch
from feedgen.serve.out.fetch import DirectWebFetcher, Fetcher, PlcFetcher, ProxiedWebFetcher
from feedgen.serve.who import identity
from feedgen.serve.who.auth import SKELETON_METHODS, TokenError, Unverifiable
from feedgen.serve.who.identity import FRESH_S, AccountStore, Resolver, make_resolver
from feedgen.serve.who.tokens import TokenVerifier
from feedgen.store.viewers import Account, Viewers
from tests.serve.accounts import Keypair, document, plc

DID, OTHER = plc("reader"), plc("other")
PAIR, NEW_PAIR = Keypair(secret=31), Keypair(secret=32)
WEB_DID = "did:web:reader.example.com"


@dataclass
class Directory:
    """Serves documents by DID (and one for /.well-known), counts, and misbehaves on command."""

    documents: dict[str, object] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    answer: Callable[[Send], Awaitable[None]] | None = None
    hold: asyncio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        did = scope["path"].rpartition("/")[2]
        self.asked.append(did)
        self.hosts += [value.decode() for name, value in scope["headers"] if name == b"host"]
        if self.hold is not None:
            await self.hold.wait()
        if self.answer is not None:
            await self.answer(send)
        elif did in self.documents:
            await reply(send, 200, json.dumps(self.documents[did]).encode())
        else:
            await reply(send, 404, b'{"message":"DID not registered"}')


async def reply(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    start: Message = {"type": "http.response.start", "status": status, "headers": list(headers)}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def answering(status: int, body: bytes = b"", *headers: tuple[bytes, bytes]) -> Callable[[Send], Awaitable[None]]:
    return lambda send: reply(send, status, body, *headers)


@dataclass
class World:
    directory: Directory
    resolver: Resolver
    clock: ManualClock
    url: str

    async def rest(self) -> None:
        """Until no look-up is under way."""
        while self.resolver._flights:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def world(
    store: AccountStore | None = None, web: Callable[[int], Fetcher] | None = None, clock: ManualClock | None = None
) -> AsyncIterator[World]:
    directory = Directory({DID: document(DID, PAIR.method(DID)), OTHER: document(OTHER, PAIR.method(OTHER))})
    server = Server(directory, ["127.0.0.1:0"])
    await server.start()
    url = f"http://127.0.0.1:{server.port}"
    clock = clock or ManualClock()
    resolver = Resolver(PlcFetcher(url + "/"), web(server.port) if web else None, store, clock)
    try:
        yield World(directory, resolver, clock, url)
    finally:
        await resolver.close()
        await server.stop(1.0)


async def fails(action: Awaitable[object], name: str) -> None:
    """`name` of a TokenError, or empty for "nobody can say"."""
    with pytest.raises((TokenError, Unverifiable)) as caught:
        await action
    assert (caught.value.name if isinstance(caught.value, TokenError) else "") == name


async def test_a_key_is_fetched_once_and_kept() -> None:
    async with world() as w:
        for _ in range(3):
            assert await w.resolver.key(DID) == PAIR.public
        account = await w.resolver.account(DID)
        assert (account.pds, account.handle) == ("https://pds.example.com", "reader.example.com")
        assert w.directory.asked == [DID]


async def test_one_look_up_however_many_wait() -> None:
    async with world() as w:
        w.directory.hold = asyncio.Event()
        waiting = [asyncio.create_task(w.resolver.key(DID)) for _ in range(50)]
        given_up = asyncio.create_task(w.resolver.key(DID))
        await asyncio.sleep(0.05)
        given_up.cancel()
        w.directory.hold.set()
        assert set(await asyncio.gather(*waiting)) == {PAIR.public}
        assert w.directory.asked == [DID]


async def test_an_old_account_is_used_and_looked_up_again_behind_its_back() -> None:
    async with world() as w:
        await w.resolver.key(DID)
        w.directory.documents[DID] = document(DID, NEW_PAIR.method(DID))
        w.clock.advance(FRESH_S - 1)
        await w.resolver.key(DID)
        assert len(w.directory.asked) == 1
        w.clock.advance(2)
        assert await w.resolver.key(DID) == PAIR.public
        await w.rest()
        assert await w.resolver.key(DID) == NEW_PAIR.public
        assert len(w.directory.asked) == 2


async def test_with_the_directory_down_known_readers_go_on() -> None:
    async with world() as w:
        await w.resolver.key(DID)
        w.directory.answer = answering(500)
        w.clock.advance(3 * FRESH_S)
        for _ in range(20):
            assert await w.resolver.key(DID) == PAIR.public
            await w.rest()
        assert len(w.directory.asked) == 2  # it is not asked at every request
        await fails(w.resolver.key(OTHER), "")
        w.clock.advance(identity.RETRY_S + 1)
        w.directory.answer = None
        assert await w.resolver.key(OTHER) == PAIR.public


async def test_nobody_waits_for_a_directory_that_is_down() -> None:
    async with world() as w:
        w.directory.answer = answering(503)
        for n in range(10):
            await fails(w.resolver.key(plc(f"new {n}")), "")
        assert len(w.directory.asked) == identity.DOWN_AFTER
        w.clock.advance(identity.DOWN_S + 0.1)
        w.directory.answer = None
        assert await w.resolver.key(DID) == PAIR.public


async def test_a_slow_directory_is_not_waited_for_but_its_answer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "KEY_S", 0.05)
    async with world() as w:
        w.directory.hold = asyncio.Event()
        await fails(w.resolver.key(DID), "")
        w.directory.hold.set()
        await w.rest()
        assert await w.resolver.key(DID) == PAIR.public
        assert len(w.directory.asked) == 1


@pytest.mark.parametrize("status", [404, 410])
async def test_an_unknown_account_is_remembered_as_unknown_for_a_while(status: int) -> None:
    async with world() as w:
        w.directory.answer = answering(status)
        for _ in range(5):
            await fails(w.resolver.key(DID), "AuthenticationRequired")
        assert len(w.directory.asked) == 1
        w.clock.advance(identity.NEGATIVE_S + 1)
        w.directory.answer = None
        assert await w.resolver.key(DID) == PAIR.public


async def test_a_tombstoned_account_is_forgotten_when_it_is_looked_up_again(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as viewers, world(viewers) as w:
        await w.resolver.key(DID)
        w.directory.answer = answering(410)
        w.clock.advance(FRESH_S + 1)
        await w.resolver.key(DID)
        await w.rest()
        await fails(w.resolver.key(DID), "AuthenticationRequired")
        assert await viewers.count_accounts() == 0


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (answering(200, b"{}"), "AuthenticationRequired"),
        (answering(200, b"nonsense"), "AuthenticationRequired"),
        (answering(200, json.dumps(document(OTHER, PAIR.method(DID))).encode()), "AuthenticationRequired"),
        (answering(200, b" " * 65_537), "AuthenticationRequired"),
        (answering(200, gzip.compress(b" " * 50_000_000), (b"content-encoding", b"gzip")), "AuthenticationRequired"),
        (answering(200, b"not gzip", (b"content-encoding", b"gzip")), ""),
        (answering(302, b"", (b"location", b"http://127.0.0.1:1/")), ""),
        (answering(400), ""),
        (answering(429), ""),
        (answering(502), ""),
    ],
)
async def test_odd_answers_of_the_directory(answer: Callable[[Send], Awaitable[None]], name: str) -> None:
    async with world() as w:
        w.directory.answer = answer
        await fails(w.resolver.key(DID), name)
        assert len(w.directory.asked) == 1


async def test_a_directory_that_is_not_there() -> None:
    resolver = Resolver(PlcFetcher("http://127.0.0.1:1"), None, None, ManualClock())
    await fails(resolver.key(DID), "")
    await resolver.close()


async def test_a_drip_fed_answer_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.02)

    monkeypatch.setattr(fetch, "FETCH_TIMEOUT_S", 0.2)
    async with world() as w:
        w.directory.answer = drip
        async with asyncio.timeout(1.5):
            await fails(w.resolver.key(DID), "")


async def test_accounts_outlive_the_process(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as viewers:
        clock = ManualClock()
        async with world(viewers, clock=clock) as w:
            await w.resolver.key(DID)
        async with world(viewers, clock=clock) as w:
            w.directory.answer = answering(500)
            assert await w.resolver.key(DID) == PAIR.public
            assert w.directory.asked == []
            await w.resolver.changed(DID)
            assert await viewers.account(DID) == (await w.resolver.account(DID))
            await w.rest()
            assert w.directory.asked == [DID]  # looked up again, though it was fresh
            await w.resolver.forget(DID)
            assert await viewers.account(DID) is None


async def test_a_broken_store_does_not_keep_readers_out() -> None:
    class Broken:
        async def account(self, did: str) -> Account | None:
            raise StoreError("broken")

        async def put_account(self, account: Account) -> None:
            raise StoreError("broken")

        forget_account = mark_account_stale = account  # type: ignore[assignment]

    async with world(Broken()) as w:  # type: ignore[arg-type]
        assert await w.resolver.key(DID) == PAIR.public
        await w.resolver.changed(DID)
        with pytest.raises(StoreError):  # to be tried again
            await w.resolver.forget(DID)


def token(pair: Keypair, clock: ManualClock, did: str = DID, jti: str = "j") -> str:
    exp = clock.now_us() // 1_000_000 + 60
    claims = {"iss": did, "aud": "did:web:feed.example.com", "exp": exp, "lxm": "app.bsky.feed.getFeedSkeleton"}
    return pair.token({**claims, "jti": jti})


async def test_a_rotated_key_is_found_at_once_and_looked_for_once_a_minute() -> None:
    async with world() as w:
        verifier = TokenVerifier("did:web:feed.example.com", w.resolver, w.clock)
        assert await verifier.verify(token(PAIR, w.clock), SKELETON_METHODS) == DID
        w.clock.advance(61)
        w.directory.documents[DID] = document(DID, NEW_PAIR.method(DID))
        assert await verifier.verify(token(NEW_PAIR, w.clock), SKELETON_METHODS) == DID
        assert len(w.directory.asked) == 2
        for n in range(20):  # forged tokens do not make us ask again and again
            await fails(verifier.verify(token(PAIR, w.clock, jti=f"{n}"), SKELETON_METHODS), "BadJwtSignature")
        assert len(w.directory.asked) == 2
        w.clock.advance(61)
        await fails(verifier.verify(token(PAIR, w.clock), SKELETON_METHODS), "BadJwtSignature")
        assert len(w.directory.asked) == 3


async def test_a_forged_token_of_a_new_reader_costs_one_look() -> None:
    async with world() as w:
        verifier = TokenVerifier("did:web:feed.example.com", w.resolver, w.clock)
        await fails(verifier.verify(token(NEW_PAIR, w.clock), SKELETON_METHODS), "BadJwtSignature")
        assert w.directory.asked == [DID]


async def test_under_attack_the_directory_is_asked_at_a_bounded_rate() -> None:
    async with world() as w:
        for n in range(300):
            await fails(w.resolver.key(plc(f"nobody {n}")), "AuthenticationRequired" if n < 100 else "")
        assert len(w.directory.asked) == identity.FETCH_RATE.burst
        w.clock.advance(1.0)
        for n in range(300, 350):
            with pytest.raises((TokenError, Unverifiable)):
                await w.resolver.key(plc(f"nobody {n}"))
        assert len(w.directory.asked) == identity.FETCH_RATE.burst + identity.FETCH_RATE.per_s


async def test_forged_tokens_of_many_accounts_have_a_small_budget_of_their_own() -> None:
    async with world() as w:
        people = [plc(f"person {n}") for n in range(60)]
        for did in people:
            w.directory.documents[did] = document(did, PAIR.method(did))
            await w.resolver.key(did)
        w.directory.asked.clear()
        w.clock.advance(3600)
        looked = [await w.resolver.fresher_key(did) for did in people]
        assert len(w.directory.asked) == identity.REFETCH_RATE.burst == sum(key is not None for key in looked)
        assert await w.resolver.key(DID) == PAIR.public  # new readers are still looked up


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_ACCOUNTS", "MAX_KEYS", "MAX_NEGATIVE"):
        monkeypatch.setattr(identity, name, 5)
    async with world() as w:
        for n in range(20):
            with pytest.raises(TokenError):
                await w.resolver.key(plc(f"nobody {n}"))
            did = plc(f"person {n}")
            w.directory.documents[did] = document(did, PAIR.method(did))
            await w.resolver.key(did)
        assert [len(held) for held in (w.resolver._accounts, w.resolver._keys, w.resolver._misses)] == [5, 5, 5]


# did:web


async def names_here(host: str) -> list[str]:
    return ["127.0.0.1"]


def direct(port: int) -> Fetcher:
    return DirectWebFetcher(names_here, lambda address: True, "http", port)


async def test_did_web_is_off_unless_it_is_on() -> None:
    async with world() as w:
        await fails(w.resolver.key(WEB_DID), "")
        assert w.directory.asked == []


async def test_did_web_direct() -> None:
    async with world(web=direct) as w:
        w.directory.documents["did.json"] = document(WEB_DID, PAIR.method(WEB_DID))
        assert await w.resolver.key(WEB_DID) == PAIR.public
        assert w.directory.hosts == ["reader.example.com"]


async def test_did_web_through_a_proxy() -> None:
    """A proxy that only notes where it was asked to connect to: that is what counts."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with world(web=lambda _: ProxiedWebFetcher(f"http://127.0.0.1:{port}")) as w:
        await fails(w.resolver.key(WEB_DID), "")
        assert len(asked) == 1 and asked[0].startswith(b"CONNECT reader.example.com:443 ")
        await fails(w.resolver.key("did:web:127.0.0.1"), "UntrustedIss")
        await fails(w.resolver.key("did:web:printer.local"), "UntrustedIss")
        assert len(asked) == 1
    server.close()


NEVER_ASKED = [
    "did:web:localhost",
    "did:web:localhost%3A8080",
    "did:web:127.0.0.1",
    "did:web:2130706433",
    "did:web:reader.example.com:path",
    "did:web:reader.example.com%3A8443",
    "did:web:router",
    "did:web:nas.local",
]


@pytest.mark.parametrize("did", NEVER_ASKED)
async def test_hosts_that_are_never_asked(did: str) -> None:
    async with world(web=direct) as w:
        await fails(w.resolver.key(did), "UntrustedIss")
        assert w.directory.asked == []


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%lo"], []]
)
async def test_names_that_lead_to_us_are_refused(addresses: list[str]) -> None:
    async def look_up(host: str) -> list[str]:
        return addresses

    async with world(web=lambda port: DirectWebFetcher(look_up, scheme="http", port=port)) as w:
        await fails(w.resolver.key(WEB_DID), "UntrustedIss")
        assert w.directory.asked == []


async def test_a_name_that_changes_its_mind_changes_nothing() -> None:
    """The name is looked up once, and the connection goes to what was checked."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    looked: list[str] = []

    async def look_up(host: str) -> list[str]:
        looked.append(host)
        return answers.pop(0)

    async with world(web=lambda port: DirectWebFetcher(look_up, lambda a: a == "127.0.0.1", "http", port)) as w:
        w.directory.documents["did.json"] = document(WEB_DID, PAIR.method(WEB_DID))
        assert await w.resolver.key(WEB_DID) == PAIR.public
        assert looked == ["reader.example.com"]


async def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(Exception, match="look up"):
        await addresses.look_up("nothing.invalid")


async def test_redirects_of_did_web_hosts_are_not_followed() -> None:
    async with world(web=direct) as w:
        w.directory.answer = answering(301, b"", (b"location", b"/elsewhere"))
        await fails(w.resolver.key(WEB_DID), "")
        assert w.directory.asked == ["did.json"]
        w.clock.advance(identity.RETRY_S + 1)
        await fails(w.resolver.key(WEB_DID), "")
        assert w.directory.asked == ["did.json"]  # a stranger's host is left alone for longer than the directory


async def test_the_settings_choose_the_way() -> None:
    for kind, expected in (("off", None), ("direct", DirectWebFetcher), ("proxy", ProxiedWebFetcher)):
        settings = Identity(did_web=kind, proxy_url="http://127.0.0.1:1")
        resolver = make_resolver(settings, None, ManualClock())
        assert (type(resolver._web) if resolver._web else None) is expected
        await resolver.close()
