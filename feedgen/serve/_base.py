from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ask:
    reader_did: str | None
    person: int | None
    limit: int
    cursor: str | None
    languages: tuple[str, ...]
    now_us: int
    peek: bool


@dataclass(frozen=True, slots=True)
class Item:
    uri: str
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Item]
    cursor: str | None = None
    req_id: str | None = None
    languages: tuple[str, ...] = ()


class Feed(Protocol):
    @property
    def name(self) -> str: ...
    async def page(self, ask: Ask) -> Page: ...
