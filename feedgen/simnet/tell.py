"""Turns the rows that a step added into events, in order of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import (
    BLOCK_NSID,
    FOLLOW_NSID,
    LIKE_NSID,
    POST_NSID,
    PROFILE_NSID,
    REPOST_NSID,
    US_PER_S,
    VISIBILITY_NSID,
    make_tid,
)  # fmt: skip
from feedgen.simnet import records, text
from feedgen.simnet.behaviour import Behaviour
from feedgen.simnet.people import PRIVATE_SHARE, People
from feedgen.simnet.posts import PostWriter
from feedgen.simnet.records import SimEvent
from feedgen.simnet.step import Act, Step

I64 = NDArray[np.int64]

_SALTS: Final = {LIKE_NSID: 61, REPOST_NSID: 62, FOLLOW_NSID: 63, BLOCK_NSID: 64}
_REV_US: Final = 25_000  # a commit is this much older than its event
_JOINED_US: Final = 1_683_000_000_000_000  # the first of the people joined in 2023


class Teller:
    def __init__(self, seed: int, people: People, behaviour: Behaviour, writer: PostWriter) -> None:
        self._seed, self._people, self._behaviour, self._writer = seed, people, behaviour, writer
        self.odd_rkeys: dict[tuple[str, int], str] = {}  # (collection, row): a record key that is not a TID
        self.odd_created: dict[tuple[str, int], str] = {}

    def tell(self, step: Step) -> list[SimEvent]:
        b = self._behaviour
        told: list[SimEvent] = []
        times: list[I64] = []
        for collection, table, rows in (
            (LIKE_NSID, b.likes, step.likes), (REPOST_NSID, b.reposts, step.reposts), (FOLLOW_NSID, b.follows,
            step.follows),
        ):  # fmt: skip
            if rows.stop > rows.start:
                numbers = np.arange(rows.start, rows.stop)
                told += self._edges(collection, numbers)
                times.append(table["us"][rows])
        if step.posts.stop > step.posts.start:
            told += self._posts(np.arange(step.posts.start, step.posts.stop))
            times.append(b.posts["us"][step.posts])
        told += [self._act(act) for act in step.acts]
        times.append(np.array([act.us for act in step.acts], np.int64))
        order = np.argsort(np.concatenate(times), kind="stable")
        return [told[i] for i in order.tolist()]

    def edge_records(self, collection: str, rows: I64) -> tuple[Sequence[str], Sequence[str], Sequence[bytes]]:
        """Record keys, CIDs and JSON of likes, reposts, follows or blocks."""
        b = self._behaviour
        table = {LIKE_NSID: b.likes, REPOST_NSID: b.reposts, FOLLOW_NSID: b.follows, BLOCK_NSID: b.blocks}[collection]
        keys = table["key"][rows]
        rkeys, created = text.tids(keys), text.iso_ms(keys >> 10)
        if self.odd_rkeys or self.odd_created:
            numbers = rows.tolist()
            rkeys = [self.odd_rkeys.get((collection, row), rkey) for row, rkey in zip(numbers, rkeys, strict=True)]
            created = [
                self.odd_created.get((collection, row), when) for row, when in zip(numbers, created, strict=True)
            ]
        cids = text.cids(text.mix(rows, self._seed * 31 + _SALTS[collection]))
        to = table["to"][rows]
        if collection in (FOLLOW_NSID, BLOCK_NSID):
            make = records.follow if collection == FOLLOW_NSID else records.block
            dids = self._people.dids
            return rkeys, cids, [make(when, dids[whom]) for when, whom in zip(created, to.tolist(), strict=True)]
        refs = self._writer.refs(to)
        subjects = [refs[row] for row in to.tolist()]
        if collection == REPOST_NSID:
            return rkeys, cids, [records.repost(when, ref) for when, ref in zip(created, subjects, strict=True)]
        vias = self._vias(table["via"][rows])
        return (
            rkeys,
            cids,
            [records.like(when, ref, via) for when, ref, via in zip(created, subjects, vias, strict=True)],
        )

    def _vias(self, via: NDArray[np.int32]) -> list[str]:
        """References to the reposts that showed the posts, or nothing."""
        rows = np.unique(via[via > 0]).astype(np.int64) - 1
        reposts, dids = self._behaviour.reposts, self._people.dids
        rkeys = text.tids(reposts["key"][rows])
        cids = text.cids(text.mix(rows, self._seed * 31 + _SALTS[REPOST_NSID]))
        known = {0: ""}
        for row, actor, cid, rkey in zip(rows.tolist(), reposts["actor"][rows].tolist(), cids, rkeys, strict=True):
            key = self.odd_rkeys.get((REPOST_NSID, row), rkey)
            known[row + 1] = records.reference(cid, f"at://{dids[actor]}/{REPOST_NSID}/{key}")
        return [known[v] for v in via.tolist()]

    def _edges(self, collection: str, rows: I64) -> list[SimEvent]:
        b = self._behaviour
        table = {LIKE_NSID: b.likes, REPOST_NSID: b.reposts, FOLLOW_NSID: b.follows}[collection]
        rkeys, cids, values = self.edge_records(collection, rows)
        us = table["us"][rows]
        return self._creates(collection, table["actor"][rows], us, rkeys, cids, values)

    def _posts(self, rows: I64) -> list[SimEvent]:
        posts, writer = self._behaviour.posts, self._writer
        return self._creates(
            POST_NSID,
            posts["author"][rows],
            posts["us"][rows],
            writer.rkeys(rows),
            writer.cids(rows),
            writer.records(rows),
        )

    def _creates(
        self,
        collection: str,
        actors: NDArray[np.int32],
        us: I64,
        rkeys: Sequence[str],
        cids: Sequence[str],
        values: Sequence[bytes],
    ) -> list[SimEvent]:
        dids = self._people.dids
        revs = text.tids(us - _REV_US << 10)
        return [
            SimEvent(0, t, dids[actor], "commit", "create", collection, rkey, rev, cid, value)
            for t, actor, rkey, rev, cid, value in zip(
                us.tolist(), actors.tolist(), rkeys, revs, cids, values, strict=True
            )
        ]

    # What is rare.

    def _act(self, act: Act) -> SimEvent:
        did = self._people.dids[act.person]
        if act.what in _DELETES:
            return self._delete(act, did)
        if act.what in ("account", "identity", "sync"):
            return SimEvent(0, act.us, did, act.what, detail=self._detail(act, did))
        rev = make_tid(act.us - _REV_US)
        if act.what == "block":
            rkeys, cids, values = self.edge_records(BLOCK_NSID, np.array([act.row]))
            return SimEvent(0, act.us, did, "commit", "create", BLOCK_NSID, rkeys[0], rev, cids[0], values[0])
        if act.what == "profile":
            cid, value = self.profile_cid(act.person, act.version), self.profile_record(act.person, act.version)
            return SimEvent(0, act.us, did, "commit", "update", PROFILE_NSID, "self", rev, cid, value)
        if act.version == 0 and act.us & 1:  # some take the declaration away, others say no in it
            return SimEvent(0, act.us, did, "commit", "delete", VISIBILITY_NSID, "self", rev)
        cid, value = self.visibility_record(act.person, bool(act.version), act.us)
        return SimEvent(
            0, act.us, did, "commit", "create" if act.version else "update", VISIBILITY_NSID, "self", rev, cid, value
        )

    def _delete(self, act: Act, did: str) -> SimEvent:
        b = self._behaviour
        collection, table = {
            "unlike": (LIKE_NSID, b.likes), "unrepost": (REPOST_NSID, b.reposts), "unpost": (POST_NSID, b.posts),
            "unfollow": (FOLLOW_NSID, b.follows), "unblock": (BLOCK_NSID, b.blocks),
        }[act.what]  # fmt: skip
        odd = (
            self._writer.odd_rkeys.get(act.row)
            if collection == POST_NSID
            else self.odd_rkeys.get((collection, act.row))
        )
        rkey = odd or text.tids(table["key"][[act.row]])[0]
        return SimEvent(0, act.us, did, "commit", "delete", collection, rkey, make_tid(act.us - _REV_US))

    def _detail(self, act: Act, did: str) -> bytes:
        relay_seq = act.us // 2_000  # the relay counts for itself
        at = text.iso_ms(np.array([act.us - US_PER_S // 4]))[0]
        if act.what == "sync":
            return f'{{"did":"{did}","rev":"{make_tid(act.us - _REV_US)}","seq":{relay_seq},"time":"{at}"}}'.encode()
        if act.what == "identity":
            # Now and then the relay leaves the handle out.
            handle = f'"handle":"{self._people.handle(act.person, act.version)}",' if act.us % 5 else ""
            return f'{{"did":"{did}",{handle}"seq":{relay_seq},"time":"{at}"}}'.encode()
        status = f',"status":"{act.detail}"' if act.detail else ""
        active = "false" if act.detail else "true"
        return f'{{"active":{active},"did":"{did}","seq":{relay_seq}{status},"time":"{at}"}}'.encode()

    def is_private(self, person: int, version: int) -> bool:
        """Whether they ask not to be shown to the logged-out; some change their mind with a new profile."""
        if version == 0:
            return bool(self._people.private[person])
        return text.mix1(person, self._seed * 31 + 71 + version) % 1000 < PRIVATE_SHARE * 3000

    def profile_cid(self, person: int, version: int) -> str:
        return text.cids(text.mix(np.array([person << 16 | version]), self._seed * 31 + 65))[0]

    def profile_record(self, person: int, version: int) -> bytes:
        people = self._people
        joined = _JOINED_US + text.mix1(person, self._seed * 31 + 73) % (2 * 365 * 86_400 * US_PER_S)
        labels: tuple[str, ...] = ("!no-unauthenticated",) if self.is_private(person, version) else ()
        if people.adult[person] and text.mix1(person, self._seed * 31 + 79) % 2:
            labels += ("porn",)
        return records.profile(
            text.iso_ms(np.array([joined]))[0],
            people.display_name(person, version), people.description(person, version),
            people.avatar_cid(person, version), labels,
        )  # fmt: skip

    def visibility_record(self, person: int, hide: bool, us: int) -> tuple[str, bytes]:
        cid = text.cids(text.mix(np.array([us]), self._seed * 31 + 66 + person))[0]
        return cid, records.visibility(text.iso_ms(np.array([us - US_PER_S]))[0], hide)


_DELETES: Final = ("unlike", "unrepost", "unpost", "unfollow", "unblock")
