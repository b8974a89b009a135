"""An event as the bytes that the real servers send: both of Jetstream's wires, and zstd with a dictionary.

v1 keeps the order of the original Go structs; v2 writes its keys in alphabetical order, as frames captured from the
real hosts show.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import zstandard

from feedgen.simnet.records import SimEvent

DICTIONARY_ID: Final = 20260811
DICTIONARY_BYTES: Final = 65_536
_TYPE: Final = "network.bsky.jetstream.subscribeEvents"


def rfc3339(us: int) -> str:
    """`2026-09-29T06:00:00.000001Z`"""
    seconds, rest = divmod(us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"


def v1(event: SimEvent, cursor: bool = False) -> bytes | None:
    """A frame of `/subscribe`. `cursor`: as v2 hosts write it. None for a sync and what replaces the repository."""
    if event.kind == "sync" or event.resync:
        return None
    at = f',"cursor":{event.seq}' if cursor else ""
    head = f'{{"did":"{event.did}","time_us":{event.time_us}{at},"kind":"{event.kind}"'
    if event.kind == "commit":
        place = f'"collection":"{event.collection}","rkey":"{event.rkey}"'
        head += f',"commit":{{"rev":"{event.rev}","operation":"{event.operation}",{place}'
        if event.record is None:
            return (head + "}}").encode()
        return b'%b,"record":%b,"cid":"%b"}}' % (head.encode(), event.record, event.cid.encode())
    return b'%b,"%b":%b}' % (head.encode(), event.kind.encode(), event.detail)


def v2(event: SimEvent) -> bytes:
    """A frame of `subscribeEvents`."""
    tail = f'"seq":{event.seq},"time":"{rfc3339(event.time_us)}"}}}}'
    head = f'{{"$type":"message","payload":{{"$type":"{_TYPE}#{event.kind}",'
    if event.kind != "commit":
        detail = f'"did":"{event.did}",'
        if event.kind == "account":
            return b'%b"account":%b,%b%b' % (head.encode(), event.detail, detail.encode(), tail.encode())
        if event.kind == "identity":
            return b'%b%b"identity":%b,%b' % (head.encode(), detail.encode(), event.detail, tail.encode())
        return b'%b%b"seq":%d,"sync":%b,"time":"%b"}}' % (
            head.encode(), detail.encode(), event.seq, event.detail, rfc3339(event.time_us).encode(),
        )  # fmt: skip
    middle = f'"collection":"{event.collection}","did":"{event.did}","operation":"{event.operation}",'
    end = f'"rev":"{event.rev}","rkey":"{event.rkey}",'
    if event.record is None:
        return f"{head}{middle}{end}{tail}".encode()
    return b'%b"cid":"%b",%b"record":%b,%b%b' % (
        head.encode(), event.cid.encode(), middle.encode(), event.record, end.encode(), tail.encode(),
    )  # fmt: skip


def v2_error(error: str, message: str) -> bytes:
    """The frame that ends a v2 stream."""
    return f'{{"$type":"error","error":"{error}","message":"{message}"}}'.encode()


def train_dictionary(samples: Iterable[bytes]) -> bytes:
    """A zstd dictionary of the real one's size, with its id. Give it some thousands of v2 frames."""
    trained = zstandard.train_dictionary(DICTIONARY_BYTES, list(samples), dict_id=DICTIONARY_ID, level=3)
    return trained.as_bytes()


class Compressor:
    """One zstd frame a message. Safe to share: each thread gets a context of its own."""

    def __init__(self, dictionary: bytes, level: int = 1) -> None:
        self._dictionary = zstandard.ZstdCompressionDict(dictionary)
        self._dictionary.precompute_compress(level=level)
        self._level = level
        self._local = threading.local()

    def __call__(self, frame: bytes) -> bytes:
        context = getattr(self._local, "context", None)
        if context is None:
            # As the real host's frames: a checksum, the dictionary's id, and a content size unless they are small.
            small, large = (
                zstandard.ZstdCompressor(self._level, self._dictionary, write_checksum=True, write_content_size=sized)
                for sized in (False, True)
            )
            context = self._local.context = (small, large)
        compressor: zstandard.ZstdCompressor = context[len(frame) >= 256]
        return compressor.compress(frame)
