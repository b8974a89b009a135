"""A PDS that a stranger's document names: which hosts are asked, how, and how much is read."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from feedgen.core.errors import UpstreamError
from feedgen.core.settings_network import Identity
from feedgen.serve.http.server import Server
from feedgen.serve.out import client as visit_module
from feedgen.serve.out.addresses import RefusedHost
from feedgen.serve.out.client import DirectHosts, HostClient, ProxiedHosts, TrustedHosts, make_hosts
from tests.serve.who.test_identity import Directory, answering

ORIGIN = "https://pds.example.com"
MAX_BYTES = 1000


async def answer_of(visiting: AbstractAsyncContextManager[HostClient]) -> bytes:
    async with visiting as visit:
        return await visit.get("com.atproto.repo.listRecords", {"repo": "did:plc:x", "limit": "1"}, MAX_BYTES)


class Pds:
    """A server that notes what it is asked."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.server = Server(self.directory, ["127.0.0.1:0"])

    async def __aenter__(self) -> Pds:
        await self.server.start()
        self.directory.answer = answering(200, b"{}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop(1.0)

    def direct(self, *addresses: str, all_public: bool = True) -> DirectHosts:
        async def look_up(host: str) -> list[str]:
            return list(addresses)

        if all_public:
            return DirectHosts(look_up, lambda address: True, "http", self.server.port)
        return DirectHosts(look_up, scheme="http", port=self.server.port)


async def test_the_checked_address_is_asked_under_its_name() -> None:
    async with Pds() as pds:
        assert await answer_of(pds.direct("127.0.0.1").visit(ORIGIN)) == b"{}"
        assert pds.directory.hosts == ["pds.example.com"]


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "http://pds.example.com",
        "https://pds.example.com:8443",
        "https://pds.example.com/path",
        "https://user@pds.example.com",
        "https://localhost",
        "https://127.0.0.1",
        "https://[::1]",
        "https://pds",
        "https://pds.local",
    ],
)
async def test_hosts_that_are_not_asked(origin: str) -> None:
    async with Pds() as pds:
        proxied = ProxiedHosts(f"http://127.0.0.1:{pds.server.port}")
        for hosts in (pds.direct("127.0.0.1"), proxied, TrustedHosts(frozenset(), proxied)):
            with pytest.raises(RefusedHost):
                await answer_of(hosts.visit(origin))
        assert pds.directory.asked == []


async def test_a_name_that_leads_home_is_not_asked() -> None:
    async with Pds() as pds:
        for addresses in (["127.0.0.1"], ["192.0.2.1", "10.0.0.1"], ["::1"], []):
            with pytest.raises(RefusedHost):
                await answer_of(pds.direct(*addresses, all_public=False).visit(ORIGIN))
        assert pds.directory.asked == []


async def test_only_trusted_hosts_are_asked_when_asking_is_off() -> None:
    async with Pds() as pds:
        url = f"http://127.0.0.1:{pds.server.port}"
        hosts = make_hosts(Identity(trusted_pds=(url,)), frozenset({url}))
        assert hosts is not None
        assert await answer_of(hosts.visit(url)) == b"{}"
        with pytest.raises(RefusedHost):
            await answer_of(hosts.visit(ORIGIN))
        assert len(pds.directory.asked) == 1
    assert make_hosts(Identity(), frozenset()) is None


async def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit_module, "ASK_TIMEOUT_S", 0.2)
    async with Pds() as pds:
        hosts = pds.direct("127.0.0.1")
        for answer in (
            answering(400, b'{"error":"RepoNotFound"}'),
            answering(302, b"", (b"location", ORIGIN.encode())),
            answering(200, b"x" * (MAX_BYTES + 1)),
            answering(200, b"\x1f\x8b", (b"content-encoding", b"gzip")),
        ):
            pds.directory.answer = answer
            with pytest.raises(UpstreamError):
                await answer_of(hosts.visit(ORIGIN))
        pds.directory.hold = asyncio.Event()
        with pytest.raises(UpstreamError):
            await answer_of(hosts.visit(ORIGIN))
        pds.directory.hold.set()
