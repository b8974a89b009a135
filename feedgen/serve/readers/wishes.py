"""What readers wish, between memory and `viewers.db`: all of it is read at the start, and written when it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from feedgen.feeds.contract import reader_key
from feedgen.feeds.wishes import Wishes

log = logging.getLogger(__name__)


class WishStore(Protocol):
    """What `store.viewers` does for us. Raises StoreError."""

    async def wishes(self) -> list[tuple[int, bytes]]: ...
    async def put_wishes(self, reader: int, told: bytes) -> None: ...
    async def forget_wishes(self, reader: int) -> None: ...


class KeptWishes:
    """Belongs to the event loop. `known` is what feeds go by; `on_change` is told whose lists are to be made anew."""

    def __init__(self, known: dict[int, Wishes], store: WishStore, on_change: Callable[[int], None]) -> None:
        self._known, self._store, self._on_change = known, store, on_change

    async def load(self) -> None:
        for reader, told in await self._store.wishes():
            try:
                self._known[reader] = msgspec.json.decode(told, type=Wishes)
            except msgspec.MsgspecError:
                log.warning("the wishes of a reader can't be read; they get the usual lists")

    def of(self, did: str) -> Wishes:
        return self._known.get(reader_key(did), Wishes())

    async def put(self, did: str, wishes: Wishes) -> None:
        """Raises StoreError; then nothing changed."""
        reader = reader_key(did)
        if wishes == Wishes():
            await self.forget(did)
        else:
            await self._store.put_wishes(reader, msgspec.json.encode(wishes))
            self._known[reader] = wishes
        self._on_change(reader)

    async def forget(self, did: str) -> None:
        reader = reader_key(did)
        await self._store.forget_wishes(reader)
        self._known.pop(reader, None)
