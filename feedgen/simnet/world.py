"""A made-up Bluesky that is the same for the same seed: people, what they do, and what servers may ask about it.

`events()` tells what happens in order of time, as fast as it is read or up to a moment that moves with the clock.
Asking about state (`post`, `profile`, `records`, `account`) answers as of the last event that was told.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from feedgen.core.ids import (
    BLOCK_NSID,
    FOLLOW_NSID,
    LIKE_NSID,
    POST_NSID,
    PROFILE_NSID,
    REPOST_NSID,
    US_PER_DAY,
    US_PER_S,
    VISIBILITY_NSID,
    is_tid,
    make_tid,
    parse_at_uri,
    tid_to_int,
)  # fmt: skip
from feedgen.simnet import records, text, words
from feedgen.simnet.behaviour import Behaviour
from feedgen.simnet.columns import Table
from feedgen.simnet.odd import Oddities
from feedgen.simnet.people import People, Person
from feedgen.simnet.posts import PostWriter
from feedgen.simnet.records import Record, SimEvent
from feedgen.simnet.states import PostState, ProfileState
from feedgen.simnet.step import Step
from feedgen.simnet.tell import Teller

EVENTS_PER_STEP: Final = 2_500  # what numpy needs to be busy; fewer make more overhead, more make longer pauses
MIN_STEP_US: Final = 10 * US_PER_S
MAX_STEP_US: Final = 3600 * US_PER_S
WARM_UP_US: Final = 18 * 3600 * US_PER_S  # lived before the first event, so that it is not everybody's first day
MAX_INJECTED: Final = 100_000


class World:
    """One reader of events at a time; not for several threads at once."""

    def __init__(
        self,
        seed: int,
        people: int,
        start_us: int,
        odd_share: float = 0.002,
        events_per_person_day: float = 30.0,
        warm_up_us: int = WARM_UP_US,
    ) -> None:
        self.seed, self.start_us, self.odd_share = seed, start_us, odd_share
        self.people = People(seed, people)
        per_day = people * events_per_person_day
        self._behaviour = Behaviour(seed, self.people, per_day)
        events_per_step = max(EVENTS_PER_STEP, people // 4)  # some work of a step is in proportion to the people
        self._step_us = int(min(max(events_per_step / per_day * US_PER_DAY, MIN_STEP_US), MAX_STEP_US))
        self.truth = self._behaviour.truth
        self._writer = PostWriter(self.people, self._behaviour.posts, seed)
        self._teller = Teller(seed, self.people, self._behaviour, self._writer)
        self._odd = Oddities(seed, self._behaviour, self._writer, self._teller, odd_share)
        self._steps = -(warm_up_us // self._step_us)  # the next one's number; those below zero are not told
        self._behaviour.first_follows(start_us + self._steps * self._step_us)
        self._waiting: list[SimEvent] = []  # of the step at hand, newest first
        self._injected: list[tuple[int, int, SimEvent]] = []
        self.now_us = start_us  # the time of the last event told
        self.seq = 0  # and its number
        self._states: dict[int, list[tuple[int, str]]] = {}  # account states over time
        self._profiles: dict[int, list[tuple[int, int]]] = {}  # profile versions over time
        self._handles: dict[int, list[tuple[int, int]]] = {}
        self._opt_outs: dict[int, list[tuple[int, int]]] = {}
        self._extra: dict[tuple[str, str], dict[str, Record]] = {}  # records that somebody injected
        while self._steps < 0:
            self._live()

    # What happens.

    def events(self, until_us: int | None = None) -> Iterator[SimEvent]:
        """Events up to and including `until_us`, each told once: the next call goes on where this one stopped."""
        while True:
            waiting = self._waiting
            while waiting and (until_us is None or waiting[-1].time_us <= until_us):
                if self._injected and self._injected[0][0] <= waiting[-1].time_us:
                    yield self._tell(heapq.heappop(self._injected)[2])
                else:
                    yield self._tell(waiting.pop())
            if waiting or (until_us is not None and self._step_start() > until_us):
                break
            self._next_step()
        while self._injected and until_us is not None and self._injected[0][0] <= until_us:
            yield self._tell(heapq.heappop(self._injected)[2])

    def _tell(self, event: SimEvent) -> SimEvent:
        self.seq += 1
        event.seq = self.seq
        if event.resync:
            event.time_us = self.now_us  # all have one time, that of the sync before them
        elif event.time_us <= self.now_us:
            event.time_us = self.now_us + 1
        self.now_us = event.time_us
        return event

    def _step_start(self) -> int:
        return self.start_us + self._steps * self._step_us

    def _live(self) -> Step:
        """The next step of everybody's life."""
        start = self._step_start()
        step = self._behaviour.step(self._steps, start, start + self._step_us)
        self._odd.before(self._steps, step)
        self._remember(step)
        self._steps += 1
        return step

    def _next_step(self) -> None:
        step = self._live()
        self._waiting = self._odd.after(step, self._teller.tell(step))
        self._waiting.reverse()

    def _remember(self, step: Step) -> None:
        for act in sorted(step.acts, key=lambda act: act.us):
            if act.what == "account":
                self._states.setdefault(act.person, []).append((act.us, act.detail))
            elif act.what == "profile":
                self._profiles.setdefault(act.person, []).append((act.us, act.version))
            elif act.what == "identity":
                self._handles.setdefault(act.person, []).append((act.us, act.version))
            elif act.what == "visibility":
                self._opt_outs.setdefault(act.person, []).append((act.us, act.version))

    # What a visitor may add.

    def inject(self, event: SimEvent) -> SimEvent:
        """Add an event of one's own; its time and number are settled when it is told. Creates show up in `records`."""
        if len(self._injected) >= MAX_INJECTED:
            raise ValueError(f"more than {MAX_INJECTED} injected events wait to be told")
        event.time_us = max(event.time_us, self.now_us + 1)
        heapq.heappush(self._injected, (event.time_us, len(self._injected) + self.seq * MAX_INJECTED, event))
        if event.kind == "commit" and not event.resync:
            mine = self._extra.setdefault((event.did, event.collection), {})
            if event.record is None:
                mine.pop(event.rkey, None)
            else:
                uri = f"at://{event.did}/{event.collection}/{event.rkey}"
                mine[event.rkey] = Record(uri, event.rkey, event.cid, event.record)
        return event

    def resync(self, person: int, without: Collection[str], time_us: int) -> list[SimEvent]:
        """The host found that it missed something of this repository: a sync, and all records as creates, at one time.
        `without` are record keys that are in the repository no more, though nobody was told of their deletion.
        """
        did = self.did(person)
        rev = make_tid(time_us)
        events = [
            SimEvent(0, time_us, did, "sync", detail=f'{{"did":"{did}","rev":"{rev}","seq":1}}'.encode()),
            *(
                SimEvent(
                    0, time_us, did, "commit", "create", collection, record.rkey, rev, record.cid, record.value,
                    resync=True,
                )
                for collection in sorted(records.COLLECTIONS)
                for record in self.records(did, collection)
                if record.rkey not in without
            ),
        ]  # fmt: skip
        return [self.inject(event) for event in events]

    def like(self, person: int, uri: str, time_us: int) -> SimEvent:
        """This person likes that post at that time (or as soon as the next event can be)."""
        row = self.post_row(uri)
        if row is None:
            raise KeyError(uri)
        cid = self._writer.cids(np.array([row]))[0]
        rkey = make_tid(time_us - 1, 31)
        record = records.like(text.iso_ms(np.array([time_us]))[0], records.reference(cid, uri))
        own = text.cids(text.mix(np.array([time_us]), person))[0]
        event = SimEvent(
            0, time_us, self.did(person), "commit", "create", LIKE_NSID, rkey, make_tid(time_us), own, record
        )
        return self.inject(event)

    # Who there is.

    @property
    def n_people(self) -> int:
        return self.people.n

    def did(self, i: int) -> str:
        return self.people.dids[i]

    def handle(self, i: int) -> str:
        return self.people.handle(i, self._now(self._handles, i))

    def index(self, did: str) -> int | None:
        return self.people.by_did.get(did)

    def by_handle(self, handle: str) -> int | None:
        """Handles end in the person's index (and, after a change, a version)."""
        for part in handle.partition(".")[0].split("-")[2:3]:
            if part.isdigit() and int(part) < self.people.n and self.handle(int(part)) == handle:
                return int(part)
        return None

    def signing_key(self, i: int) -> ec.EllipticCurvePrivateKey:
        return self.people.signing_key(i)

    def person(self, i: int) -> Person:
        people, version = self.people, self._now(self._profiles, i)
        return Person(
            i, people.dids[i], self.handle(i), people.display_name(i, version), people.description(i, version),
            people.avatar_cid(i, version),
            people.languages(i), tuple(words.TOPICS[k][0] for k in people.interests(i)), bool(people.adult[i]),
            self._teller.is_private(i, version),
        )  # fmt: skip

    def sample_readers(self, k: int, min_likes: int = 60) -> list[int]:
        """k active people of different tastes with enough likes; busier people if there are too few."""
        alive = self._behaviour.likes["gone"] == 0
        counts = np.bincount(self._behaviour.likes["actor"][alive], minlength=self.people.n) * self._behaviour.active
        order = np.lexsort((np.arange(self.people.n), -np.minimum(counts, min_likes * 3)))
        chosen: list[int] = []
        taken: set[int] = set()
        for wide in (False, True):  # first one for each main interest, then whoever is left
            for i in order.tolist():
                interest = int(self.people.taste[i].argmax())
                if len(chosen) < k and i not in chosen and (wide or (interest not in taken and counts[i] >= min_likes)):
                    chosen.append(i)
                    taken.add(interest)
        return chosen

    # How things are.

    def account(self, did: str) -> tuple[bool, str]:
        """(active, status); status is "" while active. KeyError for nobody."""
        status = str(self._now_value(self._states, self.people.by_did[did], ""))
        return status == "", status

    def profile(self, did: str) -> ProfileState | None:
        i = self.people.by_did.get(did)
        if i is None:
            return None
        active, status = self.account(did)
        person, b = self.person(i), self._behaviour
        version = self._now(self._profiles, i)
        labels = ("!no-unauthenticated",) if person.no_unauthenticated else ()
        count = {
            name: int(np.count_nonzero(self._alive(table) & (table[column] == i)))
            for name, table, column in (
                ("follows", b.follows, "actor"), ("followers", b.follows, "to"), ("posts", b.posts, "author")
            )
        }  # fmt: skip
        return ProfileState(
            did=did, handle=person.handle, display_name=person.display_name, description=person.description,
            avatar_cid=person.avatar_cid,
            labels=labels, active=active, status=status, record=self._teller.profile_record(i, version),
            cid=self._teller.profile_cid(i, version), **count,
        )  # fmt: skip

    def post_row(self, uri: str) -> int | None:
        """The number of a post in this world: what `truth` speaks of."""
        parsed = parse_at_uri(uri)
        if parsed is None or parsed.collection != POST_NSID:
            return None
        author, posts = self.people.by_did.get(parsed.did), self._behaviour.posts
        if not is_tid(parsed.rkey):
            return next(
                (
                    row
                    for row, key in self._writer.odd_rkeys.items()
                    if key == parsed.rkey and posts["author"][row] == author
                ),
                None,
            )
        key = tid_to_int(parsed.rkey)
        # Posts are in order of time, and a client's clock is at most MAX_LAG_US behind.
        first = int(np.searchsorted(posts["us"], key >> 10))
        last = int(np.searchsorted(posts["us"], (key >> 10) + 60 * US_PER_S))
        hits = np.flatnonzero((posts["key"][first:last] == key) & (posts["author"][first:last] == author))
        row = first + int(hits[0]) if len(hits) else None
        return None if row in self._writer.odd_rkeys else row

    def post_uris(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        return self._writer.uris(np.asarray(rows, np.int64))

    def post(self, uri: str) -> PostState | None:
        """None if there is no such post (yet); a deleted one says so."""
        row = self.post_row(uri)
        posts = self._behaviour.posts
        if row is None or posts["us"][row] > self.now_us:
            return None
        one = np.array([row], np.int64)
        gone = int(posts["gone"][row])
        did = self.did(int(posts["author"][row]))
        return PostState(
            uri=uri, cid=self._writer.cids(one)[0], did=did, rkey=self._writer.rkeys(one)[0],
            record=self._writer.records(one)[0],
            time_us=int(posts["us"][row]), deleted=0 < gone <= self.now_us or not self.account(did)[0],
            likes=int(posts["likes"][row]), reposts=int(posts["reposts"][row]), replies=int(posts["replies"][row]),
            quotes=int(posts["quotes"][row]),
            topic=words.TOPICS[int(posts["topic"][row])][0], language=words.LANGUAGES[int(posts["language"][row])],
        )  # fmt: skip

    def records(self, did: str, collection: str) -> list[Record]:
        """A collection of a repository in order of record key, as listRecords would (before paging)."""
        i = self.people.by_did.get(did)
        if i is None or self.account(did)[1] in ("deleted", "takendown"):
            return []
        b = self._behaviour
        tables: dict[str, Table] = {
            LIKE_NSID: b.likes,
            REPOST_NSID: b.reposts,
            FOLLOW_NSID: b.follows,
            BLOCK_NSID: b.blocks,
        }
        found: list[tuple[str, str, bytes]] = []
        if collection == POST_NSID:
            rows = np.flatnonzero((b.posts["author"] == i) & self._alive(b.posts))
            found = list(
                zip(self._writer.rkeys(rows), self._writer.cids(rows), self._writer.records(rows), strict=True)
            )
        elif collection in tables:
            table = tables[collection]
            rows = np.flatnonzero((table["actor"] == i) & self._alive(table))
            found = list(zip(*self._teller.edge_records(collection, rows), strict=True))
        elif collection == PROFILE_NSID:
            version = self._now(self._profiles, i)
            found = [("self", self._teller.profile_cid(i, version), self._teller.profile_record(i, version))]
        elif collection == VISIBILITY_NSID and self._now(self._opt_outs, i):
            found = [("self", *self._teller.visibility_record(i, True, self._opt_outs[i][-1][0]))]
        listed = {rkey: Record(f"at://{did}/{collection}/{rkey}", rkey, cid, value) for rkey, cid, value in found}
        listed.update(self._extra.get((did, collection), {}))
        return [listed[rkey] for rkey in sorted(listed)]

    def counts(self) -> dict[str, int]:
        """How many of each there are, deleted ones left out."""
        b = self._behaviour
        tables = {"posts": b.posts, "likes": b.likes, "reposts": b.reposts, "follows": b.follows, "blocks": b.blocks}
        return {"people": self.people.n, "events": self.seq} | {
            name: int(self._alive(table).sum()) for name, table in tables.items()
        }

    # What would be.

    def like_chance(self, person: int, post: str | int) -> float:
        """The chance that this person would like this post (at-uri or number) if they saw it."""
        row = self.post_row(post) if isinstance(post, str) else post
        if row is None:
            raise KeyError(post)
        return float(self.truth.like_chances(person, [row])[0])

    def like_chances(self, person: int, posts: Sequence[str | int]) -> NDArray[np.float64]:
        """The same for many; nan for a post that is not of this world."""
        rows = [self.post_row(post) if isinstance(post, str) else post for post in posts]
        chances = self.truth.like_chances(person, [row if row is not None else 0 for row in rows])
        chances[[row is None for row in rows]] = np.nan
        return chances

    def posts_since(self, us: int) -> NDArray[np.int64]:
        """Numbers of the posts that are there now and not older: what a perfect feed would choose from."""
        posts = self._behaviour.posts
        first = int(np.searchsorted(posts["us"], us))
        return first + np.flatnonzero(self._alive(posts)[first:] & self._behaviour.active[posts["author"][first:]])

    def post_column(self, name: str) -> NDArray[Any]:
        """A column of all posts (author, us, topic, language, likes, parent, ...), by their numbers."""
        column = self._behaviour.posts[name]
        column.flags.writeable = False
        return column

    def liked(self, person: int) -> NDArray[np.int64]:
        """Numbers of the posts that this person likes now, oldest first."""
        likes = self._behaviour.likes
        rows: NDArray[np.int64] = likes["to"][(likes["actor"] == person) & self._alive(likes)].astype(np.int64)
        return rows

    def _alive(self, table: Table) -> NDArray[np.bool_]:
        gone = table["gone"]
        alive: NDArray[np.bool_] = (table["us"] <= self.now_us) & ((gone == 0) | (gone > self.now_us))
        return alive

    def _now(self, history: dict[int, list[tuple[int, int]]], i: int) -> int:
        return int(self._now_value(history, i, 0))

    def _now_value(self, history: dict[int, list[tuple[int, Any]]], i: int, first: Any) -> Any:
        past = history.get(i)
        if not past:
            return first
        at = bisect.bisect_right(past, self.now_us, key=lambda entry: entry[0])
        return past[at - 1][1] if at else first
