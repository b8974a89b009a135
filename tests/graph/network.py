"""What an archive must remember of a stream of events, in plain dicts; and a feeder that tells both the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from feedgen.core.ids import (
    FOLLOW_NSID,
    LIKE,
    LIKE_NSID,
    NO_PERSON,
    NO_POST,
    POST_NSID,
    REPOST,
    REPOST_NSID,
    day_of,
    make_tid,
    parse_at_uri,
    rkey_to_int,
)
from feedgen.graph.archive import Archive
from feedgen.graph.recorder import PROFILE_FLAGS
from feedgen.ingest.batch import BatchBuilder
from feedgen.ingest.events import (
    DELETED,
    INACTIVE,
    KNOWN,
    OPTED_OUT,
    Account,
    Delete,
    Event,
    Follow,
    Post,
    Profile,
    Rating,
    Replaced,
    Visibility,
)
from feedgen.ingest.pipeline import parts_of
from feedgen.store.reader import DayReader
from feedgen.store.writer import FOLLOW, POST

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MIDNIGHT_US = 20_000 * DAY_US
NOON_US = MIDNIGHT_US + DAY_US // 2
SUBJECT_KINDS = {LIKE_NSID: LIKE, REPOST_NSID: 1, POST_NSID: POST, FOLLOW_NSID: FOLLOW}

Ref = tuple[str, int, str]  # a post: (DID, which life of that account, record key)


def did(n: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return "did:plc:" + "".join(letters[n * 7 + i * 3 & 31] for i in range(21)) + f"{letters[n >> 5]}{letters[n & 31]}q"


def uri(author: str, rkey: str) -> str:
    return f"at://{author}/{POST_NSID}/{rkey}"


@dataclass
class Model:
    """Every rule about events, said once more in the plainest way: event after event, no batches, no numbers."""

    ratings: dict[tuple[str, int, str], tuple[Ref, int]] = field(default_factory=dict)  # -> (post, day)
    posts: dict[Ref, tuple[int, int, Ref | None]] = field(default_factory=dict)  # -> (flags, language, about)
    deleted: set[Ref] = field(default_factory=set)
    numbered: set[Ref] = field(default_factory=set)
    follows: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)  # -> (DID, its life)
    flags: dict[str, int] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)
    buried: dict[tuple[str, int, int, str], int] = field(default_factory=dict)  # (DID, life, kind, key) -> when
    gone: dict[str, int] = field(default_factory=dict)  # DIDs that were deleted, and when; a restart forgets them
    high_us: int = 0

    def apply(self, event: Event, day: int) -> None:
        self.high_us = max(self.high_us, event.time_us)
        if isinstance(event, Rating | Post | Follow):
            kind = event.kind if isinstance(event, Rating) else POST if isinstance(event, Post) else FOLLOW
            if isinstance(event, Rating):
                self._mention(event.subject)
            if isinstance(event, Post) and event.about is not None:
                self._mention(event.about)
            if event.updated and not isinstance(event, Post):
                self._take_back(event.did, kind, event.rkey)
            if not self._is_buried(event.did, kind, event.rkey):
                self._create(event, day)
            elif isinstance(event, Post):
                self.numbered.add(self.mine(event))
                self.deleted.add(self.mine(event))
        elif isinstance(event, Delete):
            self._delete(event)
        elif isinstance(event, Replaced):
            self._replace(event)
        elif isinstance(event, Account) and not event.active and event.status == "deleted":
            self._erase(event.did)
            self.gone[event.did] = event.time_us
        elif isinstance(event, Account) and event.active:
            self.gone.pop(event.did, None)
            self._change(event.did, INACTIVE, 0)
        elif isinstance(event, Account):
            if event.time_us - self.gone.get(event.did, event.time_us - 2 * HOUR_US) > HOUR_US:
                self._change(event.did, INACTIVE, INACTIVE)
        elif isinstance(event, Profile):
            self._change(event.did, PROFILE_FLAGS, event.flags)
        elif isinstance(event, Visibility):
            self._change(event.did, OPTED_OUT, OPTED_OUT if event.hide else 0)

    def ref(self, text: str) -> Ref:
        parsed = parse_at_uri(text)
        assert parsed is not None
        return parsed.did, self.life(parsed.did), parsed.rkey

    def mine(self, event: Post) -> Ref:
        return event.did, self.life(event.did), event.rkey

    def life(self, who: str) -> int:
        return self.lives.get(who, 0)

    def exists(self, ref: Ref) -> bool:
        """Whether the post can still be spelled out: its author is there, and it was not deleted."""
        return ref[1] == self.life(ref[0]) and ref not in self.deleted

    def _mention(self, text: str) -> None:
        """Somebody refers to a post: from now on there is one, whether or not it is known."""
        ref = self.ref(text)
        if ref not in self.numbered and self._is_buried(ref[0], POST, ref[2]):
            self.deleted.add(ref)
        self.numbered.add(ref)

    def _create(self, event: Rating | Post | Follow, day: int) -> None:
        if isinstance(event, Rating):
            self.ratings.setdefault((event.did, event.kind, event.rkey), (self.ref(event.subject), day))
        elif isinstance(event, Follow):
            self.follows.setdefault((event.did, event.rkey), (event.subject, self.life(event.subject)))
        else:
            ref = self.mine(event)
            self.numbered.add(ref)
            if ref not in self.deleted and (event.updated or ref not in self.posts):
                about = self.ref(event.about) if event.about is not None else None
                self.posts[ref] = event.flags, event.language, about

    def _take_back(self, who: str, kind: int, rkey: str) -> bool:
        if kind == FOLLOW:
            return self.follows.pop((who, rkey), None) is not None
        return self.ratings.pop((who, kind, rkey), None) is not None

    def _delete(self, event: Delete) -> None:
        kind = SUBJECT_KINDS[event.collection]
        ref = (event.did, self.life(event.did), event.rkey)
        if kind == POST:
            found = ref in self.numbered
            if found:
                self.deleted.add(ref)
                self.posts.pop(ref, None)
        else:
            found = self._take_back(event.did, kind, event.rkey)
        key = rkey_to_int(event.rkey)
        recent = abs((key >> 10) - self.high_us) <= HOUR_US
        if (key >= 0 and recent) or (key < 0 and not found):
            self.buried[event.did, self.life(event.did), kind, event.rkey] = self.high_us

    def _replace(self, event: Replaced) -> None:
        """What the repository lacks goes, unless its key says that it was made since."""

        def gone(collection: str, rkey: str) -> bool:
            key = rkey_to_int(rkey)
            return key not in event.keys[collection] and (key < 0 or key >> 10 <= event.before_us)

        for who, kind, rkey in list(self.ratings):
            if who == event.did and gone(LIKE_NSID if kind == LIKE else REPOST_NSID, rkey):
                del self.ratings[who, kind, rkey]
        for who, rkey in list(self.follows):
            if who == event.did and gone(FOLLOW_NSID, rkey):
                del self.follows[who, rkey]
        for ref in self.numbered:  # also posts that others only spoke of
            if ref[:2] == (event.did, self.life(event.did)) and gone(POST_NSID, ref[2]):
                self.posts.pop(ref, None)
                self.deleted.add(ref)

    def _is_buried(self, who: str, kind: int, rkey: str) -> bool:
        when = self.buried.get((who, self.life(who), kind, rkey))
        return when is not None and when >= self.high_us - HOUR_US

    def _erase(self, who: str) -> None:
        self.ratings = {k: v for k, v in self.ratings.items() if k[0] != who}
        self.follows = {k: v for k, v in self.follows.items() if k[0] != who}
        self.posts = {k: v for k, v in self.posts.items() if k[0] != who}
        self.flags.pop(who, None)
        self.lives[who] = self.life(who) + 1

    def _change(self, who: str, mask: int, flags: int) -> None:
        self.flags[who] = self.flags.get(who, 0) & ~mask | flags


class Feeder:
    """Tells events to an archive in batches, as the pipeline does, and to the model one by one."""

    def __init__(self, folder: Path, erase_after_us: int | None = None) -> None:
        self.folder = folder
        self.model = Model()
        self.now_us, self.seq = NOON_US, 0
        self.day = 0
        self.erase_after_us = erase_after_us
        self._open()

    def _open(self) -> None:
        self.archive = Archive(self.folder)
        self.archive.graph.wait()  # what was doubtful is built anew, and all is counted
        self.archive.writer.erase_after_us = self.erase_after_us or self.archive.writer.erase_after_us

    def tell(self, *events: Event, replayed: bool = False) -> None:
        builder = BatchBuilder("host")
        for event in events:
            for part in parts_of(event):
                self.day = max(self.day, day_of(event.time_us))
                if not builder.add(part, self.day):
                    self._apply(builder, replayed)
                    assert builder.add(part, self.day)
            self.model.apply(event, self.day)
        if builder.events:
            self._apply(builder, replayed)

    def _apply(self, builder: BatchBuilder, replayed: bool) -> None:
        batch = builder.take()
        batch.replayed = replayed
        self.archive.recorder.apply(batch)

    def reopen(self) -> None:
        self.archive.close()
        self.model.gone.clear()
        self._open()

    def settle(self) -> None:
        """Past days are sealed in both forms, and the deleted are swept out of the truth."""
        archive = self.archive
        archive.writer.sweep()
        for _ in range(2_000):
            archive.days.tend(self.day, (self.day + 1) * DAY_US)
            assert archive.graph.watch.failure is None
            if all(archive.writer.is_sealed(day) for day in archive.writer.days() if day < self.day):
                break
            archive.graph.wait()
        archive.graph.wait()

    def moment(self) -> tuple[int, int]:
        """The next time and sequence."""
        self.now_us += 1_000_000
        self.seq += 1
        return self.now_us, self.seq

    # Events, one second after another

    def rating(self, who: str, subject: str, rkey: str = "", kind: int = LIKE, updated: bool = False) -> Rating:
        us, seq = self.moment()
        return Rating(
            did=who, time_us=us, seq=seq, kind=kind, rkey=rkey or make_tid(us), subject=subject, updated=updated
        )

    def post(
        self, who: str, rkey: str = "", flags: int = KNOWN, language: int = 1, about: str | None = None,
        updated: bool = False,
    ) -> Post:  # fmt: skip
        us, seq = self.moment()
        return Post(
            did=who, time_us=us, seq=seq, rkey=rkey or make_tid(us), flags=flags, language=language, about=about,
            updated=updated,
        )  # fmt: skip

    def follow(self, who: str, subject: str, rkey: str = "", updated: bool = False) -> Follow:
        us, seq = self.moment()
        return Follow(did=who, time_us=us, seq=seq, rkey=rkey or make_tid(us), subject=subject, updated=updated)

    def delete(self, who: str, rkey: str, collection: str = LIKE_NSID) -> Delete:
        us, seq = self.moment()
        return Delete(did=who, time_us=us, seq=seq, collection=collection, rkey=rkey)

    def account(self, who: str, active: bool, status: str | None = None) -> Account:
        us, seq = self.moment()
        return Account(did=who, time_us=us, seq=seq, active=active, status=status)

    def profile(self, who: str, flags: int) -> Profile:
        us, seq = self.moment()
        return Profile(did=who, time_us=us, seq=seq, flags=flags)

    def visibility(self, who: str, hide: bool) -> Visibility:
        us, seq = self.moment()
        return Visibility(did=who, time_us=us, seq=seq, hide=hide)

    def replaced(self, who: str, **rkeys: Sequence[str]) -> Replaced:
        """A repository with these likes, reposts, posts and follows."""
        us, seq = self.moment()
        names = {"likes": LIKE_NSID, "reposts": REPOST_NSID, "posts": POST_NSID, "follows": FOLLOW_NSID}
        keys = {nsid: {rkey_to_int(rkey) for rkey in rkeys.get(name, ())} for name, nsid in names.items()}
        kept = [(kind, rkey) for kind, name in ((LIKE, "likes"), (REPOST, "reposts")) for rkey in rkeys.get(name, ())]
        subjects = {uri(ref[0], ref[2]) for k in kept if (ref := self.model.ratings.get((who, *k), (None,))[0])}
        return Replaced(did=who, time_us=us, seq=seq, before_us=us - 1, keys=keys, subjects=subjects)

    # What the arrays and the truth say

    def check(self) -> None:
        self.check_arrays()
        self.check_truth()

    def check_arrays(self) -> None:
        model = self.model
        people = {who for who, _, _ in model.ratings} | {who for who, _ in model.follows} | set(model.lives)
        for who in sorted(people | set(model.flags)):
            self._check_person(who)
        for ref in sorted(model.numbered):
            self._check_post(ref)

    def _check_person(self, who: str) -> None:
        model, library = self.model, self.archive.library
        person = library.person(who)
        likes = [ref for (actor, _, _), (ref, _) in model.ratings.items() if actor == who and model.exists(ref)]
        follows = {
            subject for (actor, _), (subject, life) in model.follows.items()
            if actor == who and life == model.life(subject)
        }  # fmt: skip
        if person is None:
            assert not likes and not follows and not model.flags.get(who)
            return
        view = library.view()
        found = [n for n in view.likes_of(person, 1_000)[0].tolist() if not view.post_flags([n])[0] & DELETED]
        uris = [text for text in map(library.uri, found) if text is not None]
        assert len(uris) == len(set(uris))
        assert set(uris) == {uri(ref[0], ref[2]) for ref in likes}, who
        assert {d for n in view.follows_of(person).tolist() if (d := library.did(n))} == follows
        self._check_reposts(who, person)
        flags = model.flags.get(who, 0)
        assert (int(view.arrays.person_flags[person]), int(self.archive.names.flags[person])) == (flags, flags)
        edges = {(ref, day) for (actor, _, _), (ref, day) in model.ratings.items() if actor == who}
        if all(model.exists(ref) for ref, _ in edges):  # a post that is gone may come to have two numbers
            assert int(view.arrays.person_ratings[person]) == len(edges), who

    def _check_reposts(self, who: str, person: int) -> None:
        self.archive.graph.wait()  # those of past days come in the background
        ratings = self.model.ratings.items()
        wanted = {rkey_to_int(rkey): ref for (actor, kind, rkey), (ref, _) in ratings if (actor, kind) == (who, REPOST)}
        found = self.archive.library.view().reposts_of(person, 1_000)
        assert sorted(found.keys.tolist()) == sorted(wanted), who
        for post, key in zip(found.posts.tolist(), found.keys.tolist(), strict=True):
            if self.model.exists(wanted[key]):
                assert self.archive.library.uri(post) == uri(wanted[key][0], wanted[key][2])

    def _check_post(self, ref: Ref) -> None:
        model, library = self.model, self.archive.library
        author, life, rkey = ref
        if life != model.life(author):
            return
        n = library.person(author)
        assert n is not None
        view = library.view()
        number = int(view.find_posts([n], [rkey_to_int(rkey)])[0])
        if ref in model.deleted:
            assert number == NO_POST or view.post_flags([number])[0] & (DELETED | KNOWN) != KNOWN
            return
        assert number != NO_POST, ref
        facts = view.post(number)
        assert facts is not None and library.uri(number) == uri(author, rkey)
        assert library.uris(np.array([number], np.uint32)) == [uri(author, rkey)]
        flags, language, about = model.posts.get(ref, (0, 0, None))
        assert (facts.flags, facts.language) == (flags, language), ref
        if about is None:
            assert facts.about == NO_POST
        elif model.exists(about):
            assert library.uri(facts.about) == uri(about[0], about[2])
        edges = {(actor, day) for (actor, _, _), (subject, day) in model.ratings.items() if subject == ref}
        likers = [library.did(person) for person in view.likers_of(number, 1_000)[0].tolist()]
        assert len(likers) == len(set(likers))
        assert set(likers) == {actor for actor, _ in edges}
        assert facts.count == len(edges)

    def check_truth(self) -> None:
        """The rows on disk, all days."""
        archive, model = self.archive, self.model
        archive.writer.sweep()
        ratings: list[tuple[str, int, int]] = []
        posts: dict[tuple[str, int], tuple[int, int]] = {}
        follows: list[tuple[str, int, str | None]] = []
        for day in archive.writer.days():
            path = archive.folder.day_path(day)
            assert path is not None
            with DayReader(path) as reader:
                rows = reader.ratings(keys=True)
                for person, kind, key in zip(rows.actor.tolist(), rows.kind.tolist(), rows.key.tolist(), strict=True):
                    ratings.append((self._did(person), kind, key))
                told = reader.posts()
                for person, key, flags, language in zip(
                    told.author.tolist(), told.key.tolist(), told.flags.tolist(), told.language.tolist(), strict=True
                ):
                    if flags & KNOWN and not flags & DELETED:
                        posts[self._did(person), key] = flags, language
                held = reader.follows()
                for person, key, subject in zip(
                    held.actor.tolist(), held.key.tolist(), held.subject.tolist(), strict=True
                ):
                    follows.append((self._did(person), key, archive.names.did(subject)))
        assert sorted(ratings) == sorted((who, kind, rkey_to_int(rkey)) for who, kind, rkey in model.ratings)
        assert posts == {
            (who, rkey_to_int(rkey)): (flags, language) for (who, _, rkey), (flags, language, _) in model.posts.items()
        }
        wanted = {
            (who, rkey_to_int(rkey), subject if life == model.life(subject) else None)
            for (who, rkey), (subject, life) in model.follows.items()
        }
        assert set(follows) == wanted

    def _did(self, person: int) -> str:
        assert person != NO_PERSON
        found = self.archive.names.did(person)
        assert found is not None, "a row of somebody who is gone"
        return found

    def close(self) -> None:
        self.archive.close()
