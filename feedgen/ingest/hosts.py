"""Requests to a Jetstream host: subscription URLs of both wires, cursors, and the zstd dictionary."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode, urlsplit

import httpx
import zstandard

from feedgen.core.errors import UpstreamError
from feedgen.ingest.batch import Cursor
from feedgen.ingest.events import COLLECTIONS, KINDS, MAX_FRAME_BYTES

Wire = Literal["v1", "v2"]

log = logging.getLogger(__name__)

# A cursor of at least 1e15 is a time in microseconds on both wires, and this one (in 2001) is older than anything:
# every kind of host then begins at the oldest event that it still has. v1 does so silently, v2 says "OutdatedCursor".
# (0 would not do: v2 hosts take it for a sequence and refuse it as CursorTooOld.)
OLDEST: Final = 10**15
REWIND_US: Final = 10_000_000  # hosts witness the same event at slightly different times
V1_PATH: Final = "/subscribe"
V2_PATH: Final = "/xrpc/network.bsky.jetstream.subscribeEvents"
DICTIONARY_PATH: Final = "/xrpc/network.bsky.jetstream.getZstdDictionary"
MAX_DICTIONARY_BYTES: Final = 1 << 20
MAX_CACHED: Final = 8
FETCH_TIMEOUT_S: Final = 10.0


def host_name(url: str) -> str:
    """The host's name in cursors, logs and metrics."""
    return urlsplit(url).netloc


def base_of(url: str) -> str:
    """The address without what only one of the wires would want behind it."""
    return url.rstrip("/").removesuffix(V1_PATH).removesuffix(V2_PATH)


def cursor_value(at: Cursor | None, host: str, start: str) -> int | None:
    """Where to go on: by sequence on the host that gave it, by a little earlier time on any other. None: now."""
    if at is None or (not at.seq and not at.time_us):
        return OLDEST if start == "oldest" else None
    if at.seq and at.host == host:
        return at.seq
    return max(OLDEST, at.time_us - REWIND_US)


def subscription_url(base: str, wire: Wire, cursor: int | None, dictionary_id: int = 0) -> str:
    if wire == "v1":
        query = [("wantedCollections", c) for c in COLLECTIONS]
    else:
        query = [*(("collections", c) for c in COLLECTIONS), *(("kinds", k) for k in KINDS)]
        if dictionary_id:
            query.append(("zstdDictionary", str(dictionary_id)))
    query.append(("maxMessageSizeBytes", str(MAX_FRAME_BYTES)))  # hosts leave out what is larger
    if cursor is not None:
        query.append(("cursor", str(cursor)))
    return f"{base}{V1_PATH if wire == 'v1' else V2_PATH}?{urlencode(query)}"


class NoDictionary(UpstreamError):
    """The host has no such endpoint: it does not speak v2."""


class Dictionaries:
    """Fetched from a host once a run, and kept on disk for the day when the fetch fails but the stream does not."""

    def __init__(self, folder: Path, client: httpx.AsyncClient | None = None) -> None:
        self.folder = folder
        self._client = client
        self._by_host: dict[str, bytes] = {}

    async def get(self, base: str) -> bytes:
        """The host's current dictionary. NoDictionary if the host has none, UpstreamError if it can't be reached."""
        known = self._by_host.get(base)
        if known is not None:
            return known
        try:
            data = await self._fetch(base)
        except NoDictionary:
            raise
        except UpstreamError:
            kept = self._newest_kept()
            if kept is None:
                raise
            data = kept
        else:
            self._keep(data)
        self._by_host[base] = data
        return data

    def forget(self, base: str) -> None:
        """The host refused it, or sent what it can't read: the next `get` asks again."""
        self._by_host.pop(base, None)

    async def _fetch(self, base: str) -> bytes:
        url = "http" + base.removeprefix("ws") + DICTIONARY_PATH
        client = self._client or httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, follow_redirects=False)
        try:
            async with client.stream("GET", url) as response:
                if response.status_code in (400, 404, 405, 426, 501):
                    raise NoDictionary(f"{host_name(base)} has no dictionary")
                if response.status_code != 200:
                    raise UpstreamError(f"{host_name(base)} answered {response.status_code} for its dictionary")
                data = bytearray()
                async for piece in response.aiter_bytes(65_536):
                    data += piece
                    if len(data) > MAX_DICTIONARY_BYTES:
                        raise UpstreamError(f"{host_name(base)} sent a dictionary of more than 1 MiB")
        except httpx.HTTPError as error:
            raise UpstreamError(f"can't fetch the dictionary of {host_name(base)}: {reason_of(error)}") from error
        finally:
            if self._client is None:
                await client.aclose()
        if not dictionary_id(bytes(data)):
            raise UpstreamError(f"{host_name(base)} sent something that is no dictionary")
        return bytes(data)

    def _keep(self, data: bytes) -> None:
        path = self.folder / str(dictionary_id(data))
        # A cache: without it everything works, so a full disk must not stop the stream here.
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(data)
            os.replace(part, path)
            for old in self._kept()[MAX_CACHED:]:
                old.unlink(missing_ok=True)

    def _kept(self) -> list[Path]:
        found = [p for p in self.folder.iterdir() if p.name.isdecimal()] if self.folder.is_dir() else []
        return sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)

    def _newest_kept(self) -> bytes | None:
        with contextlib.suppress(OSError):
            for path in self._kept():
                data = path.read_bytes()[:MAX_DICTIONARY_BYTES]
                if str(dictionary_id(data)) == path.name:
                    return data
        return None


def dictionary_id(data: bytes) -> int:
    """The number in the dictionary's head; 0 for anything that nothing could be inflated with."""
    try:
        dictionary = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT)
        zstandard.ZstdDecompressor(dict_data=dictionary)
        return dictionary.dict_id()
    except (zstandard.ZstdError, MemoryError, ValueError):
        return 0


def reason_of(error: BaseException) -> str:
    """An error in a few words: some have no text of their own."""
    return str(error) or type(error).__name__
