"""A batch becomes truth, then arrays: the one place that knows both.

`apply` is called by the ingest thread only. It names people and posts, drops what is recorded already, commits rows and
cursor in one transaction, and only then shows the batch to ranking. If the disk refuses before the commit (StoreFull),
nothing of the batch was shown, and it can be applied again. If it refuses after, what is left to show is kept, and
shown before the next batch.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.errors import StoreFull
from feedgen.core.ids import (
    FOLLOW_NSID,
    LIKE,
    LIKE_NSID,
    NO_PERSON,
    NO_POST,
    POST_NSID,
    REPOST,
    REPOST_NSID,
    US_PER_DAY,
    rkey_to_int,
)
from feedgen.core.telemetry import Counter
from feedgen.graph.creates import Creates, Ratings
from feedgen.graph.days import Days
from feedgen.graph.graph import Graph
from feedgen.ingest.batch import Batch, Cursor
from feedgen.ingest.dating import within_day_us
from feedgen.ingest.events import (
    DELETED,
    INACTIVE,
    KNOWN,
    NO_UNAUTHENTICATED,
    OPTED_OUT,
    PERSON_ADULT,
    PERSON_HIDDEN,
    Account,
    Delete,
    Event,
    Profile,
    Replaced,
    Visibility,
)
from feedgen.store.names import Names
from feedgen.store.open_day import TOMBSTONE_US
from feedgen.store.rows import FollowRows, PostRows, RatingRows, Rows, ticks_of
from feedgen.store.sqlite import spoken
from feedgen.store.uris import PostUris, parse_post_uris
from feedgen.store.writer import FOLLOW, POST, Writer

log = logging.getLogger(__name__)

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Operation = Callable[[], object]

PROFILE_FLAGS: Final = NO_UNAUTHENTICATED | PERSON_ADULT | PERSON_HIDDEN
MAX_DELETED: Final = 65_536  # accounts that are remembered as deleted; more would need a busier hour than any so far
MAX_REPLACED: Final = 1 << 20  # ratings of one person that are compared with a repository that was read again
KIND_OF: Final = {LIKE_NSID: LIKE, REPOST_NSID: REPOST}
COLLECTION_KINDS: Final = {POST_NSID: POST, FOLLOW_NSID: FOLLOW}

RATINGS = Counter("feedgen_recorded_ratings_total", "Likes and reposts recorded.")
REPEATED = Counter("feedgen_recorded_repeats_total", "Records left out: they came again, or after their own deletion.")
UNNUMBERED = Counter("feedgen_recorded_unnumbered_total", "Posts left out: their day had no numbers left (16.7M).")
REMOVED = Counter("feedgen_recorded_removals_total", "Records and accounts taken back, by kind.", "kind")


class Recorder:
    """The pipeline's sink. `on_erased` is told the DID of each deleted account, so that others forget it too."""

    def __init__(self, names: Names, writer: Writer, graph: Graph, days: Days) -> None:
        self._names, self._writer, self._graph, self._days = names, writer, graph, days
        # By DID, the numbers that were erased in a batch that is not committed yet: their DIDs are forgotten at once,
        # so a second try can't look them up any more.
        self._erasing: dict[str, set[int]] = {}
        self._unshown: deque[Operation] = deque()  # what the arrays are still to be told of what is committed
        self._deleted = _Deleted()
        self.on_erased: Callable[[str], None] = lambda did: None

    def cursor(self) -> Cursor | None:
        return self._writer.cursor()

    def high_water_us(self) -> int:
        return self._writer.high_water_us()

    def apply(self, batch: Batch) -> None:
        self._show()
        if batch.day > self._writer.day:
            self._days.make_way(batch.day)
        # A day may have been begun before a crash and have nothing yet: the repeats of the day before belong to it.
        day = self._writer.begin(max(batch.day, self._graph.open_day or 0), batch.last_us)
        if self._graph.open_day != day:
            self._graph.start_day(day)
        draft = _Draft(self._names, self._writer, self._graph, day, batch)
        draft.add()
        self._writer.add_tags(draft.hits)
        people = self._deleting(batch.rare)
        for event in batch.rare:
            self._rare(draft, event, people)
        self._writer.commit(batch.cursor)
        self._erasing.clear()
        self._unshown.extend(draft.operations())
        try:
            self._show()
            with spoken(self._graph.folder):
                self._days.tend(day, batch.last_us)
        except StoreFull as full:  # the batch is committed: nobody may think that it was not
            log.warning("what follows a commit waits until the disk answers", extra={"reason": full.message})

    def _show(self) -> None:
        """All that is committed becomes visible to ranking. An operation that fails is done again."""
        while self._unshown:
            with spoken(self._graph.folder):
                self._unshown[0]()
            self._unshown.popleft()
        for day, version in self._writer.changed_days().items():
            self._graph.agrees(day, version)

    # --- what is rare, one by one

    def _deleting(self, rare: list[Event]) -> dict[str, int]:
        """The numbers of those who delete something: all at once, because one by one costs much more."""
        dids = [event.did for event in rare if isinstance(event, Delete)]
        return dict(zip(dids, self._names.number(dids, authors=False).tolist(), strict=True)) if dids else {}

    def _rare(self, draft: _Draft, event: Event, people: dict[str, int]) -> None:
        if isinstance(event, Delete):
            self._delete(draft, event, people[event.did])
        elif isinstance(event, Profile):
            self._change_flags(draft, event.did, PROFILE_FLAGS, event.flags & PROFILE_FLAGS)
        elif isinstance(event, Visibility):
            self._change_flags(draft, event.did, OPTED_OUT, OPTED_OUT if event.hide else 0)
        elif isinstance(event, Account):
            self._change_account(draft, event)
        elif isinstance(event, Replaced):
            self._replace(draft, event)

    def _change_account(self, draft: _Draft, event: Account) -> None:
        if event.active:
            self._deleted.forget(event.did)
            self._change_flags(draft, event.did, INACTIVE, 0)
        elif event.status == "deleted":
            self._deleted.note(event.did, event.time_us)
            self._erase(draft, event.did)
        elif not self._deleted.lately(event.did, event.time_us):
            self._change_flags(draft, event.did, INACTIVE, INACTIVE)

    def _replace(self, draft: _Draft, event: Replaced) -> None:
        """A repository was read again as a whole: what is recorded of it and not in it any more is taken back."""
        person = self._names.find(event.did)
        if person is None:
            return
        view = self._graph.view()
        liked, _ = view.likes_of(person, MAX_REPLACED)
        there, keys = draft.subjects(sorted(event.subjects))
        all_there = bool(np.isin(liked, self._graph.find_posts(there, keys)).all())
        kept = {(KIND_OF.get(name, COLLECTION_KINDS.get(name)), key) for name, of in event.keys.items() for key in of}
        for kind, key in self._writer.records_of(person, ratings_today=not all_there) - kept:
            if key >= 0 and key >> 10 > event.before_us:
                continue  # made since then, and told before in another order
            if kind == POST:
                self._delete_post(draft, person, key)
            elif kind == FOLLOW:
                self._delete_follow(draft, person, key, replaced=True)
            else:
                self._delete_rating(draft, person, kind, key, replaced=True)

    def _delete(self, draft: _Draft, event: Delete, person: int) -> None:
        if person == NO_PERSON:
            return
        key = rkey_to_int(event.rkey)
        if event.collection in KIND_OF:
            self._delete_rating(draft, person, KIND_OF[event.collection], key, event.replaced)
        elif event.collection == POST_NSID:
            self._delete_post(draft, person, key)
        elif event.collection == FOLLOW_NSID:
            self._delete_follow(draft, person, key, event.replaced)

    def _delete_rating(self, draft: _Draft, person: int, kind: int, key: int, replaced: bool) -> None:
        """What is deleted stays known as deleted for a while, because its create may come (again) later."""
        for day, post in self._writer.remove_rating(person, kind, key, bury=not replaced):
            REMOVED.add(1, "rating")
            draft.later(partial(self._take_back, day, person, post))
            if kind == REPOST:
                draft.later(partial(self._graph.remove_repost, person, key))

    def _take_back(self, day: int, person: int, post: int) -> None:
        """A record of the rating is gone. If a second record says the same, the rating stays."""
        left = self._graph.take_double_rating(day, person, post)
        if left is None:
            left = self._writer.has_other_rating(day, person, post)
        if not left:
            self._graph.remove_rating(day, person, post)

    def _delete_post(self, draft: _Draft, person: int, key: int) -> None:
        self._writer.bury(person, POST, key)
        post = draft.post_of(person, key)
        if post != NO_POST:
            REMOVED.add(1, "post")
            self._writer.remove_post(person, key, post)
            draft.later(lambda: self._graph.mark_posts([post], DELETED, True))

    def _delete_follow(self, draft: _Draft, person: int, key: int, replaced: bool) -> None:
        for day, subject in self._writer.remove_follow(person, key, bury=not replaced):
            REMOVED.add(1, "follow")
            draft.later(partial(self._take_follow_back, day, subject, person))

    def _take_follow_back(self, day: int, subject: int, person: int) -> None:
        left = self._graph.take_double_follow(day, person, subject)
        if left is None:
            left = self._writer.has_other_follow(day, person, subject)
        if not left:
            self._graph.remove_follow(day, person, subject)

    def _change_flags(self, draft: _Draft, did: str, mask: int, flags: int) -> None:
        person = self._names.find(did)
        if person is None:
            if not flags:
                return
            person = int(self._names.number([did])[0])
            if person == NO_PERSON:
                return
        new = (int(self._names.flags[person]) & ~mask) | flags
        self._names.set_flags(person, new)
        draft.later(lambda: self._graph.set_person_flags([person], [new]))

    def _erase(self, draft: _Draft, did: str) -> None:
        self.on_erased(did)
        people = self._erasing.setdefault(did, set())
        person = self._names.find(did)
        if person is not None:
            people.add(person)
            REMOVED.add(1, "account")
        for number in people:
            self._writer.erase_person(number)
            draft.later(partial(self._graph.erase_person, number))


class _Deleted:
    """Accounts that were deleted within the hour and did not come back: "deactivated" may be told of them too late, and
    must not make new people of them. Only in memory, and by a hash that means nothing to another process.
    """

    def __init__(self) -> None:
        self._when_us: dict[int, int] = {}  # the oldest first

    def note(self, did: str, time_us: int) -> None:
        self._when_us.pop(hash(did), None)
        self._when_us[hash(did)] = time_us
        while len(self._when_us) > MAX_DELETED or not self._lately(next(iter(self._when_us)), time_us):
            del self._when_us[next(iter(self._when_us))]

    def forget(self, did: str) -> None:
        self._when_us.pop(hash(did), None)

    def lately(self, did: str, time_us: int) -> bool:
        return self._lately(hash(did), time_us)

    def _lately(self, which: int, time_us: int) -> bool:
        return self._when_us.get(which, -TOMBSTONE_US) >= time_us - TOMBSTONE_US


class _Draft:
    """One batch on its way: its numbers, and what the arrays will be told after the commit."""

    def __init__(self, names: Names, writer: Writer, graph: Graph, day: int, batch: Batch) -> None:
        self._names, self._writer, self._graph, self._day, self._batch = names, writer, graph, day, batch
        self._creates = Creates(batch)
        self._odd: list[tuple[int, int, str]] = []
        self._new = PostRows()
        self._told = PostRows()  # posts that have a number already, and whose record came now
        self._ratings = RatingRows()
        self._follows = FollowRows()
        self.hits: list[tuple[str, int]] = []  # patterns of feeds, and the posts that match them
        self._later: list[Operation] = []

    def later(self, operation: Operation) -> None:
        self._later.append(operation)

    def post_of(self, author: int, key: int) -> int:
        """A post's number, also if this very batch brought it."""
        new = self._new
        for i in np.flatnonzero(new.key == key).tolist():
            if new.author[i] == author:
                return int(new.post[i])
        return int(self._graph.find_posts(np.array([author], np.uint32), np.array([key], np.int64))[0])

    def add(self) -> None:
        """Name everything, leave out what is known, and give the rest to the writer."""
        ratings = self._creates.ratings()
        numbers = self._posts(*self._subjects(ratings.subjects))
        self._ratings = self._rate(ratings, numbers)
        self._follows = self._follow()
        posts = _joined(self._new, self._told)
        self._writer.add(Rows(self._ratings, posts, self._follows, self._odd))

    def operations(self) -> Iterator[Operation]:
        """What the arrays are told after the commit, in this order."""
        graph, day = self._graph, self._day
        new, told, ratings, follows = self._new, self._told, self._ratings, self._follows
        if len(new):
            ticks = ticks_of(day, new.time_us)
            yield partial(graph.add_posts, new.post, new.author, new.key, ticks, new.flags, new.language, new.about)
        if len(told):
            yield partial(graph.update_posts, told.post, told.flags, told.language, told.about)
        if self.hits:
            yield partial(graph.tags.add, self.hits)
        if len(ratings):
            RATINGS.add(len(ratings))
            ticks, reposts = ticks_of(day, ratings.time_us), ratings.kind == REPOST
            yield partial(graph.add_ratings, ratings.actor, ratings.post, ticks)
            if reposts.any():
                columns = ratings.actor[reposts], ratings.post[reposts], ratings.key[reposts], ticks[reposts]
                yield partial(graph.add_reposts, *columns)
        if len(follows):
            yield partial(graph.add_follows, follows.actor, follows.subject)
        yield from self._later

    # --- posts

    def subjects(self, uris: list[str]) -> tuple[U32, I64]:
        return self._subjects(parse_post_uris(uris))

    def _subjects(self, parsed: PostUris) -> tuple[U32, I64]:
        authors = self._names.number(parsed.authors, authors=False)
        self._odd += [(int(authors[i]), int(parsed.keys[i]), text) for i, text in parsed.odd_keys]
        return authors, parsed.keys

    def _spell(self, people: U32, keys: I64, odd: list[tuple[int, str]]) -> None:
        self._odd += [(int(people[i]), int(keys[i]), text) for i, text in odd]

    def _posts(self, liked_authors: U32, liked_keys: I64) -> U32:
        """Number all posts of the batch; the numbers of the liked ones come back."""
        posts = self._creates.posts()
        authors, keys = self._names.number(posts.authors), posts.keys
        self._spell(authors, keys, posts.odd)
        about_authors, about_keys = self._subjects(posts.abouts)

        all_authors = np.concatenate([authors, about_authors, liked_authors])
        all_keys = np.concatenate([keys, about_keys, liked_keys])
        found = self._graph.find_posts(all_authors, all_keys)
        found[all_authors == NO_PERSON] = NO_POST
        first, numbers = self._number(all_authors, all_keys, found)

        own, with_about = len(authors), len(authors) + len(about_authors)
        about = np.full(own, NO_POST, np.uint32)
        about[posts.about_at] = numbers[own:with_about]
        rows = PostRows(numbers[:own], authors, keys, posts.times_us, posts.flags, posts.languages, about)
        updated, tags = posts.updated, self._batch.posts.tags
        if any(tags):  # only creates that came as text have texts, and their rows stand first
            self.hits = [
                (pattern, post)
                for post, patterns in zip(rows.post.tolist(), tags, strict=False)
                for pattern in patterns
                if post != NO_POST
            ]
        self._new = self._new_rows(rows, updated, first, all_authors, all_keys, numbers)
        self._told = self._told_rows(rows, updated, found[:own])
        return numbers[with_about:]

    def _number(self, authors: U32, keys: I64, found: U32) -> tuple[I64, U32]:
        """(where each unknown post stands first, all numbers). Numbers are given in order of appearance."""
        unknown = np.flatnonzero((found == NO_POST) & (authors != NO_PERSON))
        numbers = found.copy()
        if not len(unknown):
            return unknown, numbers
        order = unknown[np.lexsort((unknown, keys[unknown], authors[unknown]))]
        new = np.ones(len(order), np.bool_)
        new[1:] = (keys[order[1:]] != keys[order[:-1]]) | (authors[order[1:]] != authors[order[:-1]])
        group = np.cumsum(new) - 1
        first = order[new]
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first, kind="stable")] = np.arange(len(first))
        start = self._graph.next_posts(0)
        lost = max(0, self._writer.first_post - (start & 0xFF_FFFF))  # numbers that a power cut may have taken back
        left = max(0, self._graph.posts_left - lost)
        room = min(len(first), left)
        self._writer.reserve_posts((start & 0xFF_FFFF) + lost + room)
        given = (start + lost + rank[group]).astype(np.uint32)
        numbers[order] = np.where(rank[group] < room, given, NO_POST)
        if room < len(first):
            UNNUMBERED.add(len(first) - room)
        if 0 < left <= len(first):
            log.warning("the day has no more post numbers: new posts, and ratings of them, are left out until midnight")
        return np.sort(first)[:room], numbers

    def _new_rows(self, rows: PostRows, updated: Bool, first: I64, authors: U32, keys: I64, numbers: U32) -> PostRows:
        """Rows of the posts that got a number now: known ones as told, the others as stubs."""
        count = len(first)
        known = first < len(rows)
        new = PostRows(
            numbers[first],
            authors[first],
            keys[first],
            np.full(count, self._batch.last_us, np.int64),
            np.zeros(count, np.uint16),
            np.zeros(count, np.uint8),
            np.full(count, NO_POST, np.uint32),
        )
        at = first[known]
        new.time_us[known], new.flags[known] = rows.time_us[at], rows.flags[at]
        new.language[known], new.about[known] = rows.language[at], rows.about[at]
        for i in np.flatnonzero(updated & (rows.post >= new.post[0])).tolist() if count else ():
            place = int(rows.post[i] - new.post[0])  # written and written anew in one batch
            if place < count:
                new.flags[place], new.language[place], new.about[place] = rows.flags[i], rows.language[i], rows.about[i]
        buried = self._writer.buried(new.author, POST, new.key)
        if buried is not None:
            new.flags[buried] |= DELETED
        return new

    def _told_rows(self, rows: PostRows, updated: Bool, found: U32) -> PostRows:
        """Posts that were stubs until now, or are written anew. Otherwise one that is known stays as it is (a repeat),
        and one that was deleted stays so.
        """
        at = np.flatnonzero(found != NO_POST)
        if not len(at):
            return PostRows()
        flags = self._graph.post_flags(found[at])
        at = at[(flags & DELETED == 0) & ((flags & KNOWN == 0) | updated[at])]
        told = PostRows(*(getattr(rows, name)[at] for name in PostRows.__slots__))
        view = self._graph.view()
        for i, post in enumerate(told.post.tolist()):
            facts = view.post(post)
            assert facts is not None
            told.time_us[i] = facts.time_us  # its time is when it was first heard of, and that stays
        return told

    # --- ratings and follows

    def _rate(self, ratings: Ratings, posts: U32) -> RatingRows:
        actors = self._names.number(ratings.actors)
        self._spell(actors, ratings.keys, ratings.odd)
        rows = RatingRows(
            actors, ratings.kinds, ratings.keys, posts, within_day_us(self._day, ratings.keys, ratings.times_us)
        )
        named = (actors != NO_PERSON) & (posts != NO_POST)
        keep = named & ~self._repeats(rows)
        buried = self._writer.buried(rows.actor, rows.kind, rows.key)
        if buried is not None:
            keep &= ~buried
        if keep.all():
            return rows
        REPEATED.add(int((named & ~keep).sum()))
        return RatingRows(*(getattr(rows, name)[keep] for name in RatingRows.__slots__))

    def _repeats(self, rows: RatingRows) -> Bool:
        """Records that are kept already, or come twice in this batch.

        A repeat shows as a rating that is there already, or by a key of an earlier day; only those (and all of a
        replayed batch) are worth the look into the truth.
        """
        out = np.zeros(len(rows), np.bool_)
        suspect = self._graph.has_edges(rows.actor, rows.post)
        if suspect.any():
            out |= _again(rows.actor, rows.key << 1 | rows.kind)
        at = np.flatnonzero(suspect | self._may_repeat(rows.key))
        if len(at):
            out[at] |= self._writer.have_ratings(rows.actor[at], rows.kind[at], rows.key[at])
        return out

    def _may_repeat(self, keys: I64) -> Bool:
        """By all that the key and the batch say, the record may have been recorded before."""
        if self._batch.replayed:
            return np.ones(len(keys), np.bool_)
        earlier: Bool = (keys >= 0) & (keys < self._day * US_PER_DAY << 10)
        return earlier

    def _follow(self) -> FollowRows:
        follows = self._creates.follows()
        actors, keys = self._names.number(follows.actors), follows.keys
        subjects = self._names.number(follows.subjects, authors=False)
        self._spell(actors, keys, follows.odd)
        keep = (actors != NO_PERSON) & (subjects != NO_PERSON) & ~_again(actors, keys)
        at = np.flatnonzero(self._may_repeat(keys) | self._graph.has_follows(actors, subjects))
        if len(at):
            keep[at] &= ~self._writer.have_follows(actors[at], keys[at])
        buried = self._writer.buried(actors, FOLLOW, keys)
        if buried is not None:
            keep &= ~buried
        return FollowRows(actors[keep], keys[keep], subjects[keep])


def _again(first: U32, second: I64) -> Bool:
    """Which pairs came before in the same columns."""
    order = np.lexsort((second, first))
    same = (first[order[1:]] == first[order[:-1]]) & (second[order[1:]] == second[order[:-1]])
    out = np.zeros(len(first), np.bool_)
    out[order[1:]] = same  # lexsort is stable: the first of equals keeps its place
    return out


def _joined(a: PostRows, b: PostRows) -> PostRows:
    if not len(b):
        return a
    return PostRows(*(np.concatenate([getattr(a, name), getattr(b, name)]) for name in PostRows.__slots__))
