"""A small network for the store's tests: a stream of events, a model that takes each exactly once, and a recorder
that drives the store.

The model knows texts only (DIDs, at-uris, record keys) and shares no code with the store.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from feedgen.core.ids import LIKE, NO_POST, POST_NSID, US_PER_DAY, int_to_tid, make_tid, rkey_to_int
from feedgen.ingest.batch import Cursor
from feedgen.ingest.events import GONE, KNOWN
from feedgen.store.folder import Folder
from feedgen.store.names import Names
from feedgen.store.reader import DayReader
from feedgen.store.rows import FollowRows, PostRows, RatingRows, Rows
from feedgen.store.uris import parse_post_uris
from feedgen.store.writer import FOLLOW, POST, Writer

FIRST_DAY = 20_777  # 2026-11-20
BATCH = 40
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


class Happening(NamedTuple):
    """One event: `what` is like, repost, post, follow, unlike, unrepost, unpost, unfollow, gone or flags."""

    what: str
    did: str
    rkey: str
    subject: str
    time_us: int
    seq: int


def make_events(seed: int, count: int, days: int = 3) -> list[Happening]:
    rng = random.Random(seed)
    people = [f"did:plc:{''.join(rng.choices(_LETTERS, k=24))}" for _ in range(40)] + [
        "did:web:one.example",
        "did:web:two.example",
    ]
    posts = [(rng.choice(people), make_tid(FIRST_DAY * US_PER_DAY - rng.randrange(10**12), 5)) for _ in range(20)]
    made: list[Happening] = []
    events: list[Happening] = []
    step = days * US_PER_DAY // count
    for seq in range(1, count + 1):
        now = FIRST_DAY * US_PER_DAY + seq * step
        did = rng.choice(people)
        claimed = now - rng.choice([0, 0, 0, 500_000, 5_000_000, 200_000_000, 10**9, 3 * 10**11])
        rkey = (
            make_tid(claimed + rng.randrange(1000), rng.randrange(3))
            if rng.random() < 0.95
            else f"self-{rng.randrange(50)}"
        )
        dice = rng.random()
        if dice < 0.2:
            posts.append((did, rkey))
            event = Happening("post", did, rkey, "", now, seq)
            if rng.random() < 0.1:  # the like came first
                posts.append((did, make_tid(now + 10**6, 1)))
        elif dice < 0.75:
            author, key = rng.choice(posts[-60:])
            event = Happening(
                rng.choice(["like", "like", "repost"]), did, rkey, f"at://{author}/{POST_NSID}/{key}", now, seq
            )
        elif dice < 0.8:
            event = Happening("follow", did, rkey, rng.choice(people), now, seq)
        elif dice < 0.97 and made:
            old = rng.choice(made[-300:] if rng.random() < 0.7 else made)
            event = Happening("un" + old.what, old.did, old.rkey, "", now, seq)
        elif dice < 0.98:
            event = Happening("flags", did, str(rng.choice([0, 4, 8])), "", now, seq)
        elif dice < 0.99:
            event = Happening("gone", did, "", "", now, seq)
        else:  # delivered twice
            if made:
                old = rng.choice(made[-5:])
                events.append(old._replace(time_us=now, seq=seq))
            continue
        if event.what in ("like", "repost", "post", "follow"):
            made.append(event)
        events.append(event)
    return events


@dataclass
class Model:
    """What must be in the store after some events."""

    ratings: dict[tuple[str, str, str], str] = field(default_factory=dict)
    posts: set[tuple[str, str]] = field(default_factory=set)
    follows: dict[tuple[str, str], str] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)

    def apply(self, e: Happening) -> None:
        if e.what in ("like", "repost"):
            self.ratings.setdefault((e.did, e.what, e.rkey), e.subject)
        elif e.what == "post":
            self.posts.add((e.did, e.rkey))
        elif e.what == "follow":
            self.follows.setdefault((e.did, e.rkey), e.subject)
        elif e.what in ("unlike", "unrepost"):
            self.ratings.pop((e.did, e.what[2:], e.rkey), None)
        elif e.what == "unpost":
            self.posts.discard((e.did, e.rkey))
        elif e.what == "unfollow":
            self.follows.pop((e.did, e.rkey), None)
        elif e.what == "flags":
            self.flags[e.did] = int(e.rkey)
        else:
            self.ratings = {k: v for k, v in self.ratings.items() if k[0] != e.did}
            self.posts = {p for p in self.posts if p[0] != e.did}
            self.follows = {k: v for k, v in self.follows.items() if k[0] != e.did}
            self.flags.pop(e.did, None)

    def dump(self) -> dict[str, object]:
        # What was said about a person or a post that is gone keeps pointing at nothing: only who said it counts then.
        return {
            "ratings": sorted(self.ratings),
            "posts": sorted(self.posts),
            "follows": sorted(self.follows),
            "flags": {did: flags for did, flags in sorted(self.flags.items()) if flags},
        }


class Recorder:
    """Applies events to a store, as the real one does: numbers posts, skips repeats, resumes at the cursor."""

    def __init__(self, path: Path | str, vfs: str = "", erase_after_us: int = 0) -> None:
        self.folder = Folder(path, vfs=vfs)
        self.names = Names(self.folder)
        self.writer = Writer(self.folder, self.names, erase_after_us)
        self.posts: dict[tuple[int, int], tuple[int, int]] = {}  # (author, key) -> number, flags
        self.next_post: dict[int, int] = {}
        for file in self.folder.days():
            with DayReader(file.path) as reader:
                posts = reader.posts()
                used = posts.post.tolist()
                ratings = reader.ratings()
                used += ratings.post[ratings.post >> 24 == reader.slot].tolist()
                self.next_post[file.day] = max((n & 0xFFFFFF for n in used), default=-1) + 1
                for post, author, key, flags in zip(
                    posts.post.tolist(), posts.author.tolist(), posts.key.tolist(), posts.flags.tolist(), strict=True
                ):
                    self.posts[author, key] = post, flags

    def close(self) -> None:
        self.writer.close()
        self.names.close()
        self.folder.close()

    def run(self, events: list[Happening], batch: int = BATCH) -> None:
        cursor = self.writer.cursor()
        after = cursor.seq if cursor else 0
        events = [e for e in events if e.seq >= max(after - 3, 0)]  # the cursor is inclusive, and hosts send some again
        while events:
            day = events[0].time_us // US_PER_DAY
            part = _fitting(events, day, batch)
            events = events[len(part) :]
            self.apply(day, part)

    def apply(self, day: int, events: list[Happening]) -> None:
        used = self.writer.begin(day)
        held = dict(self.posts), dict(self.next_post)
        try:
            self._creates(used, [e for e in events if e.what in ("like", "repost", "post", "follow")])
            for e in events:
                if e.what.startswith("un"):
                    self._delete(e)
                elif e.what == "gone":
                    n = self.names.find(e.did)
                    if n is not None:
                        self.writer.erase_person(n)
                        self.posts = {k: v for k, v in self.posts.items() if k[0] != n}
                elif e.what == "flags":
                    self.names.set_flags(int(self.names.number([e.did])[0]), int(e.rkey))
            self.writer.commit(Cursor("test", events[-1].seq, events[-1].time_us))
        except BaseException:
            self.posts, self.next_post = held
            raise

    def _post(self, day: int, author: int, key: int) -> tuple[int, int]:
        held = self.posts.get((author, key))
        if held is None:
            n = self.next_post.get(day, 0)
            self.next_post[day] = n + 1
            held = self.posts[author, key] = (day % 256 << 24 | n, -1)
        return held

    def _creates(self, day: int, events: list[Happening]) -> None:
        dids = [e.did for e in events]
        actors = self.names.number(dids)
        keys = np.array([rkey_to_int(e.rkey) for e in events], np.int64)
        odd = [(int(a), int(k), e.rkey) for a, k, e in zip(actors, keys, events, strict=True) if k < 0]
        kinds = np.array([{"like": 0, "repost": 1, "post": POST, "follow": FOLLOW}[e.what] for e in events], np.uint8)
        buried = self.writer.buried(actors, kinds, keys)
        late = buried if buried is not None else np.zeros(len(events), np.bool_)
        rating = kinds < 2
        seen = np.zeros(len(events), np.bool_)
        seen[rating] = self.writer.have_ratings(actors[rating], kinds[rating], keys[rating])
        follow = kinds == FOLLOW
        seen[follow] = self.writer.have_follows(actors[follow], keys[follow])
        fresh: set[tuple[int, int, int]] = set()
        ratings, posts, follows = [], [], []
        uris = parse_post_uris([e.subject for e in events])
        authors = self.names.number(uris.authors)
        odd += [(int(authors[i]), int(uris.keys[i]), text) for i, text in uris.odd_keys]
        for i, e in enumerate(events):
            a, k = int(actors[i]), int(keys[i])
            if late[i] or seen[i] or (a, int(kinds[i]), k) in fresh:
                continue
            fresh.add((a, int(kinds[i]), k))
            if e.what == "post":
                number, flags = self._post(day, a, k)
                if flags != KNOWN:
                    posts.append((number, a, k, e.time_us, KNOWN, 3, NO_POST))
                    self.posts[a, k] = number, KNOWN
            elif e.what == "follow":
                follows.append((a, k, int(self.names.number([e.subject])[0])))
            else:
                author, key = int(authors[i]), int(uris.keys[i])
                number, flags = self._post(day, author, key)
                if flags == -1:
                    posts.append((number, author, key, e.time_us, 0, 0, NO_POST))
                    self.posts[author, key] = number, 0
                ratings.append((a, int(kinds[i]), k, number, e.time_us))
        self.writer.add(
            Rows(_columns(RatingRows(), ratings), _columns(PostRows(), posts), _columns(FollowRows(), follows), odd)
        )

    def _delete(self, e: Happening) -> None:
        n = int(self.names.number([e.did])[0])
        key = rkey_to_int(e.rkey)
        if e.what == "unpost":
            held = self.posts.pop((n, key), None)
            if held is not None:
                self.writer.remove_post(n, key, held[0])
            else:
                self.writer.bury(n, POST, key)
        elif e.what == "unfollow":
            self.writer.remove_follow(n, key)
        else:
            self.writer.remove_rating(n, LIKE if e.what == "unlike" else 1, key)


def dump(path: Path | str) -> dict[str, object]:
    """What is in a store, as texts."""
    folder = Folder(path)
    names = Names(folder)
    ratings, posts, follows = [], [], []
    for file in folder.days():
        with DayReader(file.path) as reader:

            def text(key: int, reader: DayReader = reader) -> str:
                return int_to_tid(key) if key >= 0 else str(reader.odd_key_text(key))

            columns = reader.ratings(keys=True)
            for actor, kind, key in zip(
                columns.actor.tolist(), columns.kind.tolist(), columns.key.tolist(), strict=True
            ):
                ratings.append((names.did(actor), "repost" if kind else "like", text(key)))
            p = reader.posts()
            posts += [
                (names.did(a), text(k))
                for a, k, f in zip(p.author.tolist(), p.key.tolist(), p.flags.tolist(), strict=True)
                if f & KNOWN
            ]
            f = reader.follows()
            follows += [(names.did(a), text(k)) for a, k in zip(f.actor.tolist(), f.key.tolist(), strict=True)]
    flags = {names.did(n): int(names.flags[n]) for n in range(names.count) if names.flags[n] not in (0, GONE)}
    names.close()
    folder.close()
    return {
        "ratings": sorted(ratings),
        "posts": sorted(posts),
        "follows": sorted(follows),
        "flags": dict(sorted(flags.items())),
    }


def expected(events: list[Happening]) -> dict[str, object]:
    model = Model()
    for event in events:
        model.apply(event)
    return model.dump()


def _fitting(events: list[Happening], day: int, batch: int) -> list[Happening]:
    """A batch as the real builder closes it: nothing that a delete or an account event in it could affect."""
    part: list[Happening] = []
    deleted: set[tuple[str, str]] = set()
    changed: set[str] = set()
    for e in events[:batch]:
        if (
            e.time_us // US_PER_DAY != day
            or e.did in changed
            or ((e.did, e.rkey) in deleted and not e.what.startswith("un"))
        ):
            break
        part.append(e)
        if e.what.startswith("un"):
            deleted.add((e.did, e.rkey))
        elif e.what == "gone":
            changed.add(e.did)
    return part


def _columns(rows: Any, values: Sequence[tuple[int, ...]]) -> Any:
    if not values:
        return rows
    return type(rows)(
        *(np.array(c, getattr(rows, n).dtype) for c, n in zip(zip(*values, strict=True), rows.__slots__, strict=True))
    )
