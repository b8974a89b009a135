"""What runs on the VPS beside Caddy: connects to strangers' hosts in the PC's place, and keeps the fallback's files.

    CONNECT host:443   a forward proxy's one method: HTTPS to public names, at an address that was checked
    PUT /fallback      the files that Caddy answers with while the PC is off, when there is a folder for them
    GET /page-times    how long pages took, as Caddy's log tells it (UDP, on this machine alone)

So those hosts see the VPS and never the home. It listens on the tunnel's address alone and knows its callers by theirs,
which in a tunnel nobody can forge. Standard library only: `feedgen vps` packs it into one file for the VPS.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedgen.core import fallback
from feedgen.core.errors import FeedgenError, UpstreamError
from feedgen.core.page_times import PAGE_TIMES_PATH, PageTimes
from feedgen.serve.out.addresses import Lookup, RefusedHost, checked_address, look_up
from feedgen.serve.out.hosts import is_public_address, is_public_host

PORT: Final = 443
MAX_HEAD_BYTES: Final = 8 * 1024
PIECE_BYTES: Final = 64 * 1024
MAX_CALLERS: Final = 64
MAX_BACK_BYTES: Final = 256 * 1024 * 1024  # of one connection: a repository is a few MB
HEAD_S: Final = 10.0
CONNECT_S: Final = 5.0
IDLE_S: Final = 60.0
WHOLE_S: Final = 600.0
FALLBACK_PATH: Final = "/fallback"
_STATUS: Final = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may call, and where they may go. The last three differ only in tests."""

    callers: frozenset[str]
    folder: Path | None = None
    look_up: Lookup = look_up
    is_public: Callable[[str], bool] = is_public_address
    port: int = PORT


class Refused(Exception):
    """What the caller is told instead."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class CaddyLog(asyncio.DatagramProtocol):
    """Each datagram is a line of Caddy's log."""

    def __init__(self, times: PageTimes) -> None:
        self._times = times

    def datagram_received(self, data: bytes, address: object) -> None:
        self._times.note(data)


class Egress:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._server: asyncio.Server | None = None
        self._log: asyncio.DatagramTransport | None = None
        self._times = PageTimes(time.time())
        self._callers = 0

    async def start(self, bind: str) -> str:
        """Listens there, and says where: `address:port`, on an address that the internet can't reach."""
        host, port = private_bind(bind)
        try:
            self._server = await asyncio.start_server(self._meet, host, port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise FeedgenError(
                f"can't listen on {bind}: {error.strerror}", "Is the tunnel up? It is tried again."
            ) from None
        at = self._server.sockets[0].getsockname()
        return f"{at[0]}:{at[1]}"

    async def hear_caddy(self, bind: str) -> str:
        """Listens for Caddy's log there, and says where."""
        host, _, port = bind.rpartition(":")
        if not ipaddress.ip_address(host).is_loopback:
            raise FeedgenError(f"--log {bind} is not on this machine.", "It is like 127.0.0.1:8119.")
        try:
            self._log, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: CaddyLog(self._times), (host, int(port))
            )
        except OSError as error:
            raise FeedgenError(f"can't listen on {bind}: {error.strerror}", "Is another egress running?") from None
        at = self._log.get_extra_info("sockname")
        return f"{at[0]}:{at[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._log is not None:
            self._log.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from a caller whom we know or not."""
        caller = str((writer.get_extra_info("peername") or ("nobody",))[0])
        self._callers += 1
        try:
            if caller not in self._rules.callers:
                raise Refused(403, "this machine may not call")
            if self._callers > MAX_CALLERS:
                raise Refused(503, "too many connections")
            async with asyncio.timeout(WHOLE_S):
                await self._answer(reader, writer)
        except Refused as refused:
            log.info("%s is refused: %d %s", caller, refused.status, refused.why)
            with contextlib.suppress(OSError):
                await _say(writer, refused.status, refused.why)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # they left, or were too slow
        finally:
            self._callers -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Refused(400, "not HTTP")
        method, target, _ = words
        if method == "CONNECT":
            await self._connect(target, reader, writer)
        elif (method, target) == ("PUT", FALLBACK_PATH):
            await self._keep(lines, reader, writer)
        elif (method, target) == ("GET", PAGE_TIMES_PATH):
            await _say(writer, 200, self._times.told().decode())
        else:
            raise Refused(405, "only CONNECT host:443, PUT /fallback and GET /page-times")

    async def _connect(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The tunnel to a public host. What goes through it is encrypted, and not ours to read."""
        host, _, port = target.rpartition(":")
        host = host.lower()
        if port != str(PORT) or not is_public_host(host):
            raise Refused(403, "only HTTPS to public names")
        try:
            address = await checked_address(host, self._rules.look_up, self._rules.is_public)
            async with asyncio.timeout(CONNECT_S):
                there, to_there = await asyncio.open_connection(address, self._rules.port)
        except RefusedHost as error:
            raise Refused(403, str(error)) from None
        except (UpstreamError, OSError) as error:
            raise Refused(502, f"can't reach it: {type(error).__name__}") from None
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, to_there))
                both.create_task(_pump(there, writer))
        except* (OSError, TimeoutError):
            pass  # one side left: so does the other
        finally:
            to_there.close()

    async def _keep(self, lines: list[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._rules.folder is None:
            raise Refused(404, "no folder for the fallback")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or "transfer-encoding" in headers:
            raise Refused(400, "say how long it is")
        if len(length) > 9 or int(length) > fallback.MAX_BYTES:
            raise Refused(413, "too large")
        async with asyncio.timeout(HEAD_S):
            body = await reader.readexactly(int(length))
        try:
            files = fallback.checked(json.loads(body))
        except (ValueError, RecursionError):
            raise Refused(400, "not JSON") from None
        except FeedgenError as error:
            raise Refused(400, error.message) from None
        try:
            await asyncio.to_thread(fallback.write, self._rules.folder, files)
        except FeedgenError as error:
            log.error("%s", error)
            raise Refused(500, "the files can't be written") from None
        await _say(writer, 204, "")


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Bytes from here to there until the source ends, is silent for too long, or has sent too much."""
    total = 0
    while total < MAX_BACK_BYTES:
        async with asyncio.timeout(IDLE_S):
            piece = await source.read(PIECE_BYTES)
            if not piece:
                break
            sink.write(piece)
            await sink.drain()
        total += len(piece)
    if sink.can_write_eof():
        sink.write_eof()


async def _say(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    body = f"{text}\n".encode() if text else b""
    writer.write(
        f"HTTP/1.1 {status} {_STATUS[status]}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
    )
    writer.write(body)
    await writer.drain()


def private_bind(bind: str) -> tuple[str, int]:
    """(address, port) of `100.64.0.2:8118`; a FeedgenError when the internet, or all networks, could reach it."""
    host, _, port = bind.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        raise FeedgenError(f"{bind} is not an address and a port.", "It is like 100.64.0.2:8118.") from None
    if address.is_unspecified or is_public_address(str(address)):
        raise FeedgenError(
            f"{bind} could be reached from outside: a proxy there would be everybody's.",
            "Give this machine's address in the tunnel, like 100.64.0.2:8118.",
        )
    return str(address), number


def run(bind: str, callers: Sequence[str], folder: Path | None, caddy_log: str = "") -> int:
    """Until SIGTERM or Ctrl-C."""

    async def serve() -> None:
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        egress = Egress(Rules(frozenset(callers), folder))
        if caddy_log:
            await egress.hear_caddy(caddy_log)
        print(f"listening on {await egress.start(bind)} for {', '.join(callers)}", file=sys.stderr, flush=True)
        await ended.wait()
        await egress.stop()

    asyncio.run(serve())
    return 0


def main() -> int:
    """The command of the one file for the VPS."""
    parser = argparse.ArgumentParser(prog="feedgen-egress", description="Runs on the VPS, for the PC in the tunnel.")
    parser.add_argument("--bind", required=True, help="this machine's address in the tunnel, like 100.64.0.2:8118")
    parser.add_argument("--allow", required=True, action="append", help="the PC's address in the tunnel")
    parser.add_argument("--fallback", type=Path, help="the folder that Caddy answers from while the PC is off")
    parser.add_argument("--log", default="", help="where Caddy's log comes to, like 127.0.0.1:8119")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return run(given.bind, given.allow, given.fallback, given.log)
    except FeedgenError as error:
        print(f"feedgen-egress: {error}", file=sys.stderr)
        return 1
