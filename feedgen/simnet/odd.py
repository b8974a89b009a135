"""The small share of things that are not as they should be, because the real network has them too.

Odd record keys and future dates belong to real records and are known to the world; duplicates, repeats and malformed
records are extra events that the world's own tables know nothing of. Each says what it is in `SimEvent.odd`.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from feedgen.core.ids import FOLLOW_NSID, LIKE_NSID, POST_NSID, REPOST_NSID, US_PER_DAY, US_PER_S, make_tid
from feedgen.simnet import text
from feedgen.simnet.behaviour import Behaviour
from feedgen.simnet.posts import PostWriter
from feedgen.simnet.records import SimEvent
from feedgen.simnet.step import Step
from feedgen.simnet.tell import Teller

# Shares of the odd ones: rkey, future, duplicate, malformed, repeat.
RKEY, FUTURE, DUPLICATE, MALFORMED, REPEAT = "rkey", "future", "duplicate", "malformed", "repeat"
KINDS: Final = (RKEY, FUTURE, DUPLICATE, MALFORMED, REPEAT)
_RKEYS: Final = ("custom-{:x}", "3jzfcijpj2z2a~{:x}", "2026-11-20:{:x}", "{:d}", "Like_{:x}.v2", "3ZZ{:x}")
# Wrong in every way that a record can be: what stands in for the field named.
_BROKEN: Final[tuple[tuple[str, bytes], ...]] = (
    ("subject", b"null"), ("subject", b'"at://not-a-did/app.bsky.feed.post/3jzfcijpj2z2a"'), ("subject", b"17"),
    ("subject", b"[]"),
    ("subject", b'{"uri":42,"cid":true}'), ("subject",
    b'{"cid":"x","uri":"at://alice.simnet.test/app.bsky.feed.post/3jzfcijpj2z2a"}'),
    ("createdAt", b"1732000000"), ("createdAt", b'"yesterday"'), ("createdAt", b"null"), ("$type",
    b'"app.bsky.feed.nothing"'),
    ("text", b"[1,2,3]"), ("text", b"null"), ("langs", b'"en"'), ("langs", b'[null,7,"xx-not-a-language-at-all"]'),
    ("reply", b'{"root":"?"}'),
    ("embed", b'{"$type":17}'), ("embed", b"[]"), ("labels",
    b'{"$type":"com.atproto.label.defs#selfLabels","values":"porn"}'), ("*", b"[]"), ("*", b'"text"'),
    ("*", b"null"), ("*", b"{}"),
)  # fmt: skip


class Oddities:
    def __init__(self, seed: int, behaviour: Behaviour, writer: PostWriter, teller: Teller, share: float) -> None:
        self._seed, self._behaviour, self._writer, self._teller, self._share = seed, behaviour, writer, teller, share
        self._rng = np.random.Generator(np.random.Philox(0))
        self._odd: dict[
            tuple[str, str], str
        ] = {}  # (collection, rkey) or (collection, cid): what was made odd in this step

    def before(self, number: int, step: Step) -> None:
        """Keys and dates, before the step is told, so that everything that refers to them agrees."""
        self._rng = np.random.Generator(
            np.random.Philox(key=[self._seed & (1 << 64) - 1, (number + (1 << 40)) & (1 << 64) - 1])
        )
        self._odd.clear()
        for collection, rows in (
            (LIKE_NSID, step.likes),
            (POST_NSID, step.posts),
            (REPOST_NSID, step.reposts),
            (FOLLOW_NSID, step.follows),
        ):
            n = rows.stop - rows.start
            for kind, each in ((RKEY, 0.25), (FUTURE, 0.2)):
                for row in (
                    rows.start + self._rng.integers(0, max(n, 1), int(self._rng.poisson(n * self._share * each)))
                ).tolist():
                    self._spoil(collection, row, kind)

    def _spoil(self, collection: str, row: int, kind: str) -> None:
        h = text.mix1(row, self._seed * 31 + 83)
        if kind == RKEY:
            rkey = _RKEYS[h % len(_RKEYS)].format(h >> 16)
            if collection == POST_NSID:
                self._writer.odd_rkeys[row] = rkey
            else:
                self._teller.odd_rkeys[collection, row] = rkey
            self._odd[collection, rkey] = RKEY
            return
        table = self._behaviour.posts if collection == POST_NSID else {
            LIKE_NSID: self._behaviour.likes, REPOST_NSID: self._behaviour.reposts, FOLLOW_NSID: self._behaviour.follows
        }[collection]  # fmt: skip
        days = (1, 30, 400, 2900)[h & 3]
        created = text.iso_ms(table["us"][[row]] + days * US_PER_DAY)[0]
        if collection == POST_NSID:
            self._writer.odd_created[row] = created
        else:
            self._teller.odd_created[collection, row] = created
        self._odd[collection, text.tids(table["key"][[row]])[0]] = FUTURE

    def after(self, step: Step, events: list[SimEvent]) -> list[SimEvent]:
        """Extra events among the others, in order of time, none beyond the step."""
        if self._odd:
            for event in events:
                if event.kind == "commit" and event.operation == "create":
                    event.odd = self._odd.get((event.collection, event.rkey), "")
        picked: list[tuple[str, SimEvent]] = []
        for kind, each in ((DUPLICATE, 0.2), (MALFORMED, 0.2), (REPEAT, 0.15)):
            n = int(self._rng.poisson(len(events) * self._share * each))
            picked += [(kind, events[at]) for at in self._rng.integers(0, max(len(events), 1), n).tolist()]
        if not picked:
            return events
        # A copy must not bring back what is taken away in the meantime: the real network repeats in order.
        ended = {(event.did, event.rkey) for event in events if event.operation == "delete" or event.kind == "account"}
        extra = [
            self._extra(kind, of, step.end_us)
            for kind, of in picked
            if (of.did, of.rkey) not in ended and (of.did, "") not in ended and (kind == REPEAT or _fits(kind, of))
        ]
        return sorted(events + extra, key=lambda event: event.time_us)

    def _extra(self, kind: str, of: SimEvent, end_us: int) -> SimEvent:
        later = min(of.time_us + int(self._rng.integers(1, 90 * US_PER_S)), end_us - 1)
        if kind == REPEAT:
            # The very same event again: only the server's own time and number are new.
            return msgspec.structs.replace(of, time_us=later, odd=REPEAT)
        rkey, rev = make_tid(later - US_PER_S, 30), make_tid(later)
        cid = text.cids(text.mix(np.array([later]), self._seed * 31 + 89))[0]
        record, collection = of.record or b"", of.collection
        if kind == MALFORMED:
            present = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
            wrongs = [(field, value) for field, value in _BROKEN if field == "*" or field in present]
            field, value = wrongs[int(self._rng.integers(len(wrongs)))]
            record = value if field == "*" else msgspec.json.encode(present | {field: msgspec.Raw(value)})
        return SimEvent(0, later, of.did, "commit", "create", collection, rkey, rev, cid, record, odd=kind)


def _fits(kind: str, of: SimEvent) -> bool:
    """Only a like is worth doubling, and only a record can be malformed."""
    return of.operation == "create" and (kind == MALFORMED or of.collection == LIKE_NSID)
