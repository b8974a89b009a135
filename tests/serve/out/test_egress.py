"""The proxy on the VPS: where it goes and where not, for whom, and what it keeps. Real sockets, real TLS."""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import certifi
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from feedgen.core.errors import FeedgenError, UpstreamError
from feedgen.core.fallback import MAX_BYTES, SKELETON, SKELETON_PATH
from feedgen.core.page_times import PAGE_TIMES_PATH, PageTimes, page_times
from feedgen.serve.out import egress as module
from feedgen.serve.out.client import ProxiedHosts
from feedgen.serve.out.egress import Egress, Rules, private_bind
from feedgen.serve.out.fetch import ProxiedWebFetcher
from feedgen.serve.out.hosts import is_public_address

HOST = "reader.example.com"
PAGE = {"feed": [{"post": "at://did:plc:a/app.bsky.feed.post/1"}]}
Lookup = Callable[[str], list[str]]


class Far:
    """A host out there, with a certificate that only `authority` vouches for."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.authority, private = folder / "far.crt", folder / "far.key"
        self.authority.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        private.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(self.authority, private)
        self.asked: list[str] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    def stop(self) -> None:
        self._server.close()


class World:
    def __init__(self, egress: Egress, address: str, far: Far, folder: Path, looked: list[str]) -> None:
        self.egress, self.address, self.far, self.folder, self.looked = egress, address, far, folder, looked

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def say(self, text: str | bytes, more: float = 10) -> str:
        """What the proxy answers to these bytes, until it hangs up."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(text.encode() if isinstance(text, str) else text)
            async with asyncio.timeout(more):
                return (await reader.read(10_000)).decode()
        finally:
            writer.close()

    async def connect(self, target: str) -> int:
        return int((await self.say(f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n")).split(" ")[1])


@asynccontextmanager
async def world(
    folder: Path, addresses: Lookup = lambda host: ["127.0.0.1"], caller: str = "127.0.0.1", all_public: bool = True
) -> AsyncIterator[World]:
    far, looked = Far(folder), list[str]()
    port = await far.start()

    async def look_up(host: str) -> list[str]:
        looked.append(host)
        return addresses(host)

    is_public: Callable[[str], bool] = (lambda a: a == "127.0.0.1") if all_public else is_public_address
    rules = Rules(frozenset([caller]), folder / "fallback", look_up, is_public, port)
    egress = Egress(rules)
    try:
        yield World(egress, await egress.start("127.0.0.1:0"), far, folder, looked)
    finally:
        await egress.stop()
        far.stop()


async def test_documents_and_repositories_come_through_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `[identity] did_web = "proxy"` does, to the last byte: the certificate is the far host's own."""
    async with world(tmp_path) as w:
        fetcher = ProxiedWebFetcher(w.url)
        with pytest.raises(UpstreamError):  # nobody vouches for that certificate yet
            await fetcher.fetch(f"did:web:{HOST}")
        await fetcher.close()
        monkeypatch.setattr(certifi, "where", lambda: str(w.far.authority))
        fetcher = ProxiedWebFetcher(w.url)
        assert await fetcher.fetch(f"did:web:{HOST}") == b"{}"
        await fetcher.close()
        assert w.far.asked == ["GET /.well-known/did.json HTTP/1.1"] and set(w.looked) == {HOST}
        async with ProxiedHosts(w.url).visit(f"https://{HOST}") as pds:  # and `pds = "proxy"`
            assert await pds.get("com.atproto.repo.listRecords", {"repo": "x"}, 1000) == b"{}"
        assert w.far.asked[1:] == ["GET /xrpc/com.atproto.repo.listRecords?repo=x HTTP/1.1"]


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:443",
        "[::1]:443",
        "2130706433:443",
        "0x7f.1:443",
        "localhost:443",
        "router:443",
        "nas.local:443",
        "vps.internal:443",
        f"{HOST}:80",
        f"{HOST}:8443",
        f"{HOST}:22",
        f"{HOST}.:443",
        f"user@{HOST}:443",
        f"https://{HOST}:443",
        HOST,
        ":443",
    ],
)
async def test_where_it_never_goes(target: str, tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert await w.connect(target) == 403
        assert w.looked == []


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%lo"], ["100.64.0.7"], ["192.168.1.1"], []],
)
async def test_names_that_lead_to_us_or_to_the_tunnel(addresses: list[str], tmp_path: Path) -> None:
    async with world(tmp_path, lambda host: addresses, all_public=False) as w:
        assert await w.connect(f"{HOST}:443") == 403
        assert w.looked == [HOST] and w.far.asked == []


async def test_a_name_that_changes_its_mind_changes_nothing(tmp_path: Path) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    async with world(tmp_path, lambda host: answers.pop(0)) as w:
        assert await w.connect(f"{HOST.upper()}:443") == 200
        assert w.looked == [HOST] and len(answers) == 1


async def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    def nowhere(host: str) -> list[str]:
        raise UpstreamError("can't look it up")

    async with world(tmp_path, nowhere) as w:
        assert await w.connect(f"{HOST}:443") == 502
    async with world(tmp_path) as w:
        w.far.stop()
        assert await w.connect(f"{HOST}:443") == 502


async def test_strangers_and_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, caller="127.0.0.2") as w:
        assert await w.connect(f"{HOST}:443") == 403
        assert (await w.say(put(PAGE))).startswith("HTTP/1.1 403") and not (tmp_path / "fallback").exists()
    async with world(tmp_path) as w:
        for head in (
            "GET / HTTP/1.1",
            f"GET http://{HOST}/ HTTP/1.1",
            "PUT /other HTTP/1.1",
            "DELETE /fallback HTTP/1.1",
        ):
            assert (await w.say(f"{head}\r\n\r\n")).startswith("HTTP/1.1 405")
        for head in ("", "CONNECT", f"CONNECT {HOST}:443", f"CONNECT {HOST}:443 SPDY/3", "\x00\xff"):
            assert (await w.say(f"{head}\r\n\r\n")).startswith("HTTP/1.1 400")
        assert await w.say("x" * 100_000) == ""  # a head without an end
        monkeypatch.setattr(module, "HEAD_S", 0.2)
        assert await w.say("CONNECT slow") == ""
        monkeypatch.setattr(module, "MAX_CALLERS", 0)
        assert await w.connect(f"{HOST}:443") == 503


async def test_a_connection_that_falls_silent_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.3)
    async with world(tmp_path) as w:
        host, _, port = w.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n".encode())
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await reader.read()  # to the end
        writer.close()


# --- the fallback's files


def put(value: object, length: int | None = None) -> bytes:
    body = value if isinstance(value, bytes) else json.dumps({SKELETON: value}).encode()
    head = f"PUT /fallback HTTP/1.1\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


async def test_it_keeps_what_the_pc_sends(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await w.say(put(PAGE))).startswith("HTTP/1.1 204")
        path = tmp_path / "fallback" / SKELETON[1:]
        assert json.loads(path.read_text()) == PAGE and path.stat().st_mode & 0o777 == 0o644
        before = path.read_text()
        bad: list[tuple[bytes, int]] = [
            (put({"feed": []}), 400),
            (put({"feed": [{"post": "https://evil.example"}]}), 400),
            (put({"feed": [{"post": PAGE["feed"][0]["post"], "reason": {}}]}), 400),
            (put({"feed": PAGE["feed"] * 101}), 400),
            (put(b'{"/../../etc/passwd": {}}'), 400),
            (put(b'{"/index.html": {}}'), 400),
            (put(b"{}"), 400),
            (put(b"[" * 50_000), 400),
            (put(b"not json"), 400),
            (put(b"", MAX_BYTES + 1), 413),
            (b"PUT /fallback HTTP/1.1\r\n\r\n", 400),
            (b"PUT /fallback HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (b"PUT /fallback HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
        ]
        for body, status in bad:
            assert (await w.say(body)).startswith(f"HTTP/1.1 {status}"), body[:80]
        assert path.read_text() == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_it_counts_how_long_pages_took(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        host, _, port = (await w.egress.hear_caddy("127.0.0.1:0")).rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caddy:
            for seconds in (0.02, 4.5):
                line = {
                    "request": {"method": "GET", "uri": f"{SKELETON_PATH}?feed=x"},
                    "duration": seconds,
                    "status": 200,
                }
                caddy.sendto(json.dumps(line).encode(), (host, int(port)))
            caddy.sendto(b"\xff" * 1400, (host, int(port)))

        async def told() -> PageTimes:
            answer = await w.say(f"GET {PAGE_TIMES_PATH} HTTP/1.1\r\n\r\n")
            return page_times(answer.partition("\r\n\r\n")[2].encode())

        async with asyncio.timeout(10):
            while (times := await told()).pages < 2:
                await asyncio.sleep(0.01)
        assert (times.pages, times.late, times.failed) == (2, 1, 0)
    async with world(tmp_path, caller="127.0.0.2") as w:
        assert (await w.say(f"GET {PAGE_TIMES_PATH} HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 403")
        with pytest.raises(FeedgenError, match="not on this machine"):
            await w.egress.hear_caddy("0.0.0.0:0")


async def test_without_a_folder_nothing_is_kept() -> None:
    egress = Egress(Rules(frozenset(["127.0.0.1"])))
    address = await egress.start("127.0.0.1:0")
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.put(f"http://{address}/fallback", json={SKELETON: PAGE})
    assert answer.status_code == 404
    await egress.stop()


# --- where it listens


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:8118", "[::]:8118", "8.8.8.8:8118", "[2606:4700::1]:8118", "vps:8118", "x", ""]
)
def test_it_never_listens_where_the_internet_is(bind: str) -> None:
    with pytest.raises(FeedgenError):
        private_bind(bind)


def test_an_address_of_the_tunnel() -> None:
    assert private_bind("100.64.0.2:8118") == ("100.64.0.2", 8118)
    assert private_bind("[fd7a:115c:a1e0::7]:1") == ("fd7a:115c:a1e0::7", 1)


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(FeedgenError, match="tunnel up"):
        asyncio.run(Egress(Rules(frozenset())).start("100.64.93.17:8118"))


def test_it_stands_on_the_standard_library_alone() -> None:
    """Debian's Python on the VPS has nothing else."""
    code = "import feedgen.serve.out.egress, sys; print('httpx' in sys.modules, 'numpy' in sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout) == (0, "False False\n"), done.stderr
