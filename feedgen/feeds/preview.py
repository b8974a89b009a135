"""Lists to look at: anybody's, as it would be served now, with any parameters, and with the reasons for it.

Nothing here leaves a trace with the reader: nothing is marked as served or seen, no list is kept. All of it may be
called in any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from feedgen.core.ids import NO_PERSON, NO_POST, POST_NSID, parse_at_uri, rkey_to_int
from feedgen.feeds.also_liked import AlsoLiked
from feedgen.feeds.contract import Ask, Known, reader_key
from feedgen.feeds.for_you import Drawn, ForYou, Seeds, either
from feedgen.feeds.services import FeedServices
from feedgen.graph.access import I64, U32
from feedgen.graph.view import View
from feedgen.rank.kernel import rank
from feedgen.rank.left_out import walk
from feedgen.rank.listing import ListRules, in_order
from feedgen.rank.params import Formula, RankParams
from feedgen.rank.policy import (
    AWAY,
    IS_ADULT,
    IS_HIDDEN,
    MAY,
    REASONS,
    SIGNED_IN_ONLY,
    may_be_named,
    page_policy,
    person_verdict,
    verdicts,
)
from feedgen.rank.request import R_COUNT, R_PATHS, R_POST, R_TIME, RESULT_INTS, Ranked, Request
from feedgen.rank.scorer import learned
from feedgen.rank.seen import Taste
from feedgen.rank.why import Why, absent, explain, led

TASTE_POSTS: Final = 24  # that stand for a taste
TASTES: Final = 4
TASTE_LIKERS: Final = 400  # of each popular post, to tell tastes apart
FEW_LIKERS: Final = 3
ALIKE: Final = 0.15  # share of likers in common from which on two posts are one taste
TASTES_AMONG: Final = 200  # popular posts
CHANGED_LIKES: Final = 3  # each costs a ranking
MOST_NAMED: Final = 25  # what one question to the AppView takes
VEILED: Final = frozenset({IS_ADULT, SIGNED_IN_ONLY})  # named on pages, but without text and pictures

ABOUT_PEOPLE: Final = {
    SIGNED_IN_ONLY: "This person asked to be shown to signed-in people only.",
    AWAY: "This account is deactivated, suspended or deleted.",
    IS_HIDDEN: "A label or the operator of this service hides this account.",
}

_NONE: Final = np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose list is looked at: a reader's, or that of somebody who likes a post and what goes with it. `known` has
    what the reader saw and asked for, if whoever looks may know of that."""

    reader_did: str | None = None
    person: int | None = None
    post: int = NO_POST
    known: Known = field(default_factory=lambda: Known(Taste([], 0)))


class Placed(NamedTuple):
    """A post in a list, with what is known here of it. `context` says where it came from; `verdict` whether anybody may
    see it (rank/policy.py).
    """

    post: int
    uri: str
    context: str
    people: int  # who led to it
    likes: int
    time_us: int
    verdict: int

    @property
    def veil(self) -> str:
        """What stands in place of its text and pictures; empty: nothing does."""
        return "" if self.verdict == MAY else REASONS[self.verdict].text


class Seed(NamedTuple):
    """What the reader likes, and how many of those who led to the post like it."""

    uri: str
    people: int
    veil: str


class Dropped(NamedTuple):
    placed: Placed | None  # None: no page may name it
    rule: str
    place: int


class Changed(NamedTuple):
    """The post's place if the reader had not liked `seed`; None: it would not be in the ranking at all."""

    seed: str
    place: int | None


class Reasons(NamedTuple):
    placed: Placed
    why: Why
    seeds: list[Seed]  # most people first
    changes: list[Changed]
    listed: int | None  # its place in the list, after the list's own rules


class Led(NamedTuple):
    """Who led to a post, by DID, those most like the reader first; how many more did; and how many in all counted."""

    people: list[str]
    unnamed: int
    counted: int

    def as_counted(self) -> Led:
        """No more people than the reason of the post speaks of."""
        people = self.people[: self.counted]
        return Led(people, self.counted - len(people), self.counted)


class Preview:
    def __init__(self, services: FeedServices, feed: ForYou) -> None:
        self.services, self._feed = services, feed

    # --- whose list; in the event loop's thread

    def reader(self, did: str, private: bool, now_us: int) -> Subject:
        """With `private`, what they saw and asked for counts as well; it must be in memory by now."""
        state = self.services.readers.get(reader_key(did)) if private else None
        known = Known(Taste([], now_us)) if state is None else Known(state.taste(now_us), state.seen.ascending(now_us))
        return Subject(did, self.services.library.person(did), known=known)

    def own(self, did: str, now_us: int) -> Subject:
        """A reader who looks at their own list, with all that counts for it; it must be in memory by now."""
        subject, services = self.reader(did, private=True, now_us=now_us), self.services
        known = replace(subject.known, recipe=services.recipe_of(did), wishes=services.wishes_of(did))
        return replace(subject, known=known)

    def post(self, uri: str) -> int:
        """NO_POST when it is unknown."""
        parsed = parse_at_uri(uri)
        author = self.services.library.person(parsed.did) if parsed and parsed.collection == POST_NSID else None
        if parsed is None or author is None:
            return NO_POST
        return int(self.services.library.view().find_posts([author], [rkey_to_int(parsed.rkey)])[0])

    def may_be_shown(self, uri: str) -> bool:
        """Whether we know the post and anybody may see it."""
        return self._verdict(self.services.library.view(), self.post(uri)) == MAY

    def why_not(self, subject: Subject) -> str:
        """Why a list made of these likes is not shown to everybody; empty: it is."""
        view = self.services.library.view()
        if subject.post != NO_POST:
            verdict = self._verdict(view, subject.post)
            return "" if verdict == MAY else REASONS[verdict].text
        return ABOUT_PEOPLE.get(person_verdict(view, subject.person, logged_out=True), "")

    # --- what is asked; in any thread

    def listing(self, subject: Subject, params: RankParams, limit: int, now_us: int) -> list[Placed]:
        """The first posts of the list."""
        drawn = self._draw(subject, params, now_us)
        rows, codes, placed = self._rows(drawn), drawn.listed.codes, list[Placed]()
        for start in range(0, len(rows), limit):
            some = rows[start : start + limit]
            contexts = [self._feed.context(code) or "" for code in codes[start : start + limit].tolist()]
            placed += self._placed(drawn.view, some, contexts)
            if len(placed) >= limit:
                break
        return placed[:limit]

    def question(self, view: View, f: Formula, subject: Subject, now_us: int) -> tuple[Request, Seeds, U32]:
        """(what ranking is asked for them, all that they like, whom they follow)."""
        ask, liked = self._ask(subject, now_us), self._liked(subject, now_us)
        return self._feed.query(view, f, ask, subject.known, liked)

    def likes(self, subject: Subject, now_us: int) -> int:
        """How many likes of theirs are known."""
        _, liked, _ = self.question(self.services.library.view(), self.services.formula(cheap=True), subject, now_us)
        return int(liked.posts.size)

    def _asked(self, subject: Subject, params: RankParams, now_us: int) -> tuple[View, Formula, Request]:
        """What ranking would be asked for this subject's list."""
        view, f = self.services.library.view(), params.formula(self.services.pace.pace_us)
        return view, f, self.question(view, f, subject, now_us)[0]

    def why(self, subject: Subject, params: RankParams, post: int, now_us: int) -> Reasons | str:
        """Everything that is known of a post's place; or in words why it has none."""
        view, f, query = self._asked(subject, params, now_us)
        verdict = self._verdict(view, post)
        if verdict not in (MAY, *VEILED):
            return REASONS[verdict].clause
        why = explain(view, f, query, post, self.services.scorer)
        if why is None:
            return absent(view, query, post)
        facts, uri = view.post(post), self.services.library.uri(post)
        if facts is None or uri is None:
            return "the post is gone"
        placed = Placed(post, uri, "", why.people, why.likes, facts.time_us, verdict)
        seeds = self._seeds(view, why.seeds)
        listed = np.flatnonzero(self._draw(subject, params, now_us).listed.posts == post)
        changes = self._without_likes(view, f, query, post, [self.post(seed.uri) for seed in seeds[:CHANGED_LIKES]])
        return Reasons(placed, why, seeds, changes, int(listed[0]) + 1 if listed.size else None)

    def _seeds(self, view: View, shared: list[tuple[int, int]]) -> list[Seed]:
        """Those that may be shown, or named at least."""
        found = verdicts(view, np.array([post for post, _ in shared], np.uint32), page_policy(view)).tolist()
        may = [(*one, verdict) for one, verdict in zip(shared, found, strict=True) if verdict in (MAY, *VEILED)]
        named = [(self.services.library.uri(post), people, verdict) for post, people, verdict in may]
        return [Seed(uri, people, REASONS[v].text if v in REASONS else "") for uri, people, v in named if uri]

    def led(self, subject: Subject, params: RankParams, post: int, now_us: int) -> Led | str:
        """Who led to a post, for the reader whose list it is; or in words why it has no place."""
        view, f, query = self._asked(subject, params, now_us)
        found = led(view, f, query, post)
        if found is None:
            return absent(view, query, post)
        people, counted = found
        may = [one for one in people if may_be_named(view, one)]
        named = [did for one in may[:MOST_NAMED] if (did := self.services.library.did(one)) is not None]
        return Led(named, len(people) - len(named), counted)

    def left_out(self, subject: Subject, params: RankParams, size: int, now_us: int) -> tuple[int, list[Dropped]]:
        """(how many stand in the list, what would stand among them but for a rule)."""
        view, f = self.services.library.view(), params.formula(self.services.pace.pace_us)
        ask, known = self._ask(subject, now_us), subject.known
        query, liked, follows = self.question(view, f, subject, now_us)
        # Ranked without a rule, so that each can say what it drops.
        anything = query._replace(reader=NO_PERSON, excluded=_NONE, require=0, forbid=0, early=False)
        ranked = self._ranked(view, f, anything)
        sources = in_order(self._feed.sources(view, ask, query, ranked, liked.posts.size))
        ints = np.concatenate([np.empty((0, RESULT_INTS), np.int64), *(source.ints for source in sources)])
        walked = walk(
            view,
            sources,
            self._feed.rules_for(known),
            size,
            reader=query.reader,
            liked=np.sort(liked.posts),
            seen=known.seen,
            follows=np.sort(follows),
            hidden_posts=either(known.taste.hidden_posts, known.skip),
            hidden_authors=known.taste.hidden_authors,
            fades=self._feed.fades(view, ask, known, query),
        )
        rows = ints[[one.row for one in walked.dropped]]
        placed = {one.post: one for one in self._placed(view, rows, [""] * len(rows))}
        posts = rows[:, R_POST].tolist()
        dropped = [
            Dropped(placed.get(post), one.rule, one.place) for post, one in zip(posts, walked.dropped, strict=True)
        ]
        return len(walked.kept), dropped

    def popular(self, limit: int) -> list[Placed]:
        """What everybody may see of what is liked just now."""
        view = self.services.library.view()
        rows = self.services.popular_rows((), video=False)[: 4 * limit]
        may = verdicts(view, rows[:, R_POST].astype(np.uint32), ListRules().policy(view, logged_out=True)) == MAY
        return self._placed(view, rows[may][:limit], ["popular"] * limit)

    def tastes(self) -> list[Placed]:
        """Popular posts that different people like: each stands for a taste."""
        view = self.services.library.view()
        found, crowds = list[Placed](), list[set[int]]()
        for one in self.popular(TASTES_AMONG):
            likers = set(view.likers_of(one.post, TASTE_LIKERS)[0].tolist())
            if len(likers) >= FEW_LIKERS and all(_alike(likers, crowd) < ALIKE for crowd in crowds):
                found.append(one)
                crowds.append(likers)
                if len(found) == TASTES:
                    break
        return found

    # --- how

    def _ask(self, subject: Subject, now_us: int) -> Ask:
        # A taste is nobody's: with a name, so that a personal list is made.
        return Ask(
            subject.reader_did or "did:taste:nobody", subject.person, 1, None, subject.known.wishes.languages, now_us
        )

    def _liked(self, subject: Subject, now_us: int) -> Seeds | None:
        if subject.post == NO_POST:
            return None
        also = AlsoLiked(self.services, subject.post).make(self._ask(subject, now_us), subject.known, cheap=True)
        posts = np.concatenate([np.array([subject.post], np.uint32), also.posts[: TASTE_POSTS - 1]])
        n = posts.size
        return Seeds(posts, np.full(n, now_us, np.int64), np.ones(n), np.zeros(n, np.uint8))

    def _draw(self, subject: Subject, params: RankParams, now_us: int) -> Drawn:
        f = params.formula(self.services.pace.pace_us)
        return self._feed.draw(self._ask(subject, now_us), subject.known, f, self._liked(subject, now_us))

    def _rows(self, drawn: Drawn) -> I64:
        """Of each listed post, from its source."""
        rows = np.empty((drawn.listed.posts.size, RESULT_INTS), np.int64)
        for source in drawn.sources:
            of_kind = drawn.listed.kinds == source.kind
            rows[of_kind] = source.ints[drawn.listed.rows[of_kind]]
        return rows

    def _placed(self, view: View, rows: I64, contexts: Sequence[str]) -> list[Placed]:
        """Those that a page may name."""
        posts = rows[:, R_POST].astype(np.uint32)
        uris, found = self.services.library.uris(posts), verdicts(view, posts, page_policy(view)).tolist()
        return [
            Placed(row[R_POST], uri, context, row[R_PATHS], row[R_COUNT], row[R_TIME], verdict)
            for row, uri, context, verdict in zip(rows.tolist(), uris, contexts, found, strict=False)
            if uri is not None and verdict in (MAY, *VEILED)
        ]

    def _ranked(self, view: View, f: Formula, query: Request) -> Ranked:
        return learned(view, f, query, rank(view, f, query), self.services.scorer)

    def _verdict(self, view: View, post: int) -> int:
        """Whether anybody may see a post that they name."""
        return int(verdicts(view, np.array([post], np.uint32), page_policy(view))[0])

    def _without_likes(self, view: View, f: Formula, query: Request, post: int, seeds: Sequence[int]) -> list[Changed]:
        """The place if the reader had not liked one of these."""
        changes = []
        for seed in seeds:
            ranked = self._ranked(view, f, without_seed(query, seed))
            at = np.flatnonzero(ranked.ints[:, R_POST] == post)
            name = self.services.library.uri(seed)
            if name is not None:
                changes.append(Changed(name, int(at[0]) + 1 if at.size else None))
        return changes


def without_seed(query: Request, seed: int) -> Request:
    """The same question, if that had not been liked."""
    rest = query.seeds != seed
    return query._replace(
        seeds=query.seeds[rest],
        seed_times=query.seed_times[rest],
        seed_factors=query.seed_factors[rest],
        seed_listed=query.seed_listed[rest],
    )


def _alike(one: set[int], other: set[int]) -> float:
    """The share that two crowds have in common."""
    return len(one & other) / max(len(one | other), 1)
