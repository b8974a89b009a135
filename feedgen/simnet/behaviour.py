"""What people do in one step of time: post, look around, like, repost, follow, change their mind, leave and come back.

All dice of a step are thrown together as arrays, from a generator that belongs to that step, so that a step is the
same however its events are read. People like what they can have seen: posts of those they follow, what those liked,
what is popular, what is about their topics; and of what they see, what `truth` says.
"""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.simnet import kernels, words
from feedgen.simnet import posts as posts_module
from feedgen.simnet.columns import Keys, Rings, Table
from feedgen.simnet.dice import choose, client_lags, in_sorted, pick, times_in
from feedgen.simnet.kernels import Around, Habits
from feedgen.simnet.people import STYLES, People
from feedgen.simnet.step import Act, Step
from feedgen.simnet.truth import Truth

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Shares of all events (facts: 69% likes, 12% posts, 10% reposts, 6% follows).
LIKES: Final = 0.69
POSTS: Final = 0.12
REPOSTS: Final = 0.10
FOLLOWS: Final = 0.06
UNLIKES: Final = 0.007
UNREPOSTS: Final = 0.001
POST_DELETES: Final = 0.005
UNFOLLOWS: Final = 0.004
PROFILES: Final = 0.006
BLOCKS: Final = 0.004
UNBLOCKS: Final = 0.0005
IDENTITIES: Final = 0.0015
ACCOUNTS: Final = 0.0006
OPT_OUTS: Final = 0.0003
SYNCS: Final = 0.0004

SEEN_WITHIN_US: Final = 4 * US_PER_DAY  # nobody is shown anything older
FRESH_US: Final = 14 * 3600 * US_PER_S  # the older a post, the rarer it is shown: e-folding time
NOTICED_US: Final = 8 * US_PER_S  # nobody likes a post sooner than this
VIA_SHARE: Final = 0.45  # of the likes whose post was shared by somebody, so that about 17% of all carry one
QUOTE_SHARE: Final = 0.08
CHANNELS: Final = (0.33, 0.60, 0.68)  # followed authors, liked by the followed, popular; the rest: by topic

# An account event: up to which throw, what state, and the chance to come back.
LEAVING: Final = (
    (0.35, "", 0.0),
    (0.70, "deactivated", 0.8),
    (0.82, "suspended", 0.5),
    (0.88, "takendown", 0.1),
    (1.0, "deleted", 0.06),
)


def edges() -> Table:
    """Likes, reposts, follows, blocks. `to` is a post or a person; `via` a repost's row plus one."""
    return Table(actor=np.int32, to=np.int32, us=np.int64, key=np.int64, gone=np.int64, via=np.int32)


class Behaviour:
    """The state that people act upon, and the steps that change it."""

    def __init__(self, seed: int, people: People, events_per_day: float) -> None:
        self.seed, self.people, self._per_us = seed, people, events_per_day / US_PER_DAY
        n = people.n
        self.posts, self.likes, self.reposts, self.follows, self.blocks = (
            posts_module.table(),
            edges(),
            edges(),
            edges(),
            edges(),
        )
        self.truth = Truth(people, self.posts, seed)
        self.active = np.ones(n, np.bool_)
        self.hidden = np.zeros(n, np.bool_)  # opted out of recommendations
        self.profile_version = np.zeros(n, np.int32)
        self.handle_version = np.zeros(n, np.int32)
        self._by_author, self._liked = Rings(n, 32), Rings(n, 48)
        self._by_topic = Rings(len(words.TOPICS) * len(words.LANGUAGES), 128)
        self._seen_keys = Keys()  # post << 32 | person of every like there was
        self._yield = 0.05  # likes a try, as measured so far
        self._returns: list[tuple[int, int]] = []  # (when, who)
        topic_sums = np.cumsum(people.taste.astype(np.float64) ** 3, axis=1)
        self._topic_sums = topic_sums / topic_sums[:, -1:]
        at = (np.arange(64) + 0.5) / 64
        self._topic_choice = (at[None, :, None] > self._topic_sums[:, None, :]).sum(axis=2).astype(np.int8)
        self._media_sums = np.cumsum(people.media, axis=1)
        rng = np.random.Generator(np.random.Philox(key=[seed & (1 << 64) - 1, 0xF0110]))
        self._follow_keys = people.first_follows(rng)
        self._unfollowed: list[int] = []  # edges of the graph to be taken out at the end of the step
        self._index_follows()

    def first_follows(self, before_us: int) -> None:
        """The follows that were there before the first step, as records of the past year."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed & (1 << 64) - 1, 0xF0111]))
        n = len(self._follow_keys)
        us = np.sort(before_us - rng.integers(US_PER_DAY, 365 * US_PER_DAY, n))
        pairs = rng.permutation(self._follow_keys)
        self.follows.add(n, actor=pairs >> 32, to=pairs & 0xFFFF_FFFF, us=us, key=us << 10)

    def step(self, number: int, start_us: int, end_us: int) -> Step:
        rng = np.random.Generator(
            np.random.Philox(key=[self.seed & (1 << 64) - 1, (number + (1 << 20)) & (1 << 64) - 1])
        )
        done = Step(start_us, end_us)
        hour = (start_us + end_us) / 2 % US_PER_DAY / (3600 * US_PER_S)
        peaks = np.asarray(words.PEAK_HOURS)[self.people.language]
        awake = 1 + 0.8 * np.cos((hour - peaks) * (np.pi / 12))
        events = self._per_us * (end_us - start_us) * float(self.people.activity @ awake)
        # Who leaves in this step does nothing in it, and who returns starts with the next: so nobody acts while away.
        self._depart(rng, done, events * ACCOUNTS)
        awake *= self.active
        reading = np.cumsum(self.people.activity * awake)
        self._post(rng, done, events * POSTS, np.cumsum(self.people.posting * awake))
        self._like(rng, done, events * LIKES, reading)
        self._repost(rng, done, events * REPOSTS)
        self._follow(rng, done, events * FOLLOWS, reading)
        self._regret(rng, done, events)
        self._change(rng, done, events, reading)
        self._return(done)
        self._index_follows()
        return done

    # What people make.

    def _post(self, rng: np.random.Generator, done: Step, expected: float, sums: F64) -> None:
        n = int(rng.poisson(expected))
        if not n:
            return
        people, posts = self.people, self.posts
        author = pick(rng, sums, n)
        us = times_in(rng, done, n)
        topic = choose(rng, self._topic_sums[author])
        media = choose(rng, self._media_sums[author])
        language = np.where(rng.random(n) < 0.9, people.language[author], people.second[author])
        about = self._liked.pick(author, rng.exponential(3.0, n))
        usable = (about >= 0) & self._showable(about, done.start_us)
        reply = usable & (rng.random(n) < people.replying[author])
        quote = usable & ~reply & (rng.random(n) < QUOTE_SHARE * 2)
        linked = reply | quote
        topic = np.where(linked, posts["topic"][about] if posts.n else topic, topic)
        parent = np.where(reply, about, -1)
        above = posts["root"][np.maximum(parent, 0)] if posts.n else parent
        root = np.where(reply, np.where(above >= 0, above, parent), -1)
        style = 0.8 * people.style[author] + (0.6 / np.sqrt(STYLES)) * rng.standard_normal((n, STYLES))
        quality = people.skill[author] + 0.8 * rng.standard_normal(n) - 0.8 * reply
        adult = people.adult[author] & (rng.random(n) < 0.6)
        media = np.where(reply & (rng.random(n) < 0.85) | quote, posts_module.TEXT, media)
        done.posts = posts.add(
            n, author=author, us=us, key=(us - client_lags(rng, n)) << 10 | rng.integers(0, 32, n), topic=topic,
            language=language, media=media,
            adult=adult, quality=quality, style=style, parent=parent, root=root, quote=np.where(quote, about, -1),
        )  # fmt: skip
        np.add.at(posts["replies"], parent[reply], 1)
        np.add.at(posts["quotes"], about[quote], 1)
        rows = np.arange(done.posts.start, done.posts.stop)
        self._by_author.add(author, rows)
        top = np.flatnonzero(~reply)
        self._by_topic.add(topic[top].astype(np.int64) * len(words.LANGUAGES) + language[top], rows[top])

    def _like(self, rng: np.random.Generator, done: Step, expected: float, sums: F64) -> None:
        wanted = int(rng.poisson(expected))
        if not self.posts.n or not wanted:
            return
        tries = int(wanted / self._yield) + 1
        who, what, us = self._look(rng, done, tries, sums)
        keys = what << 32 | who
        fresh = np.flatnonzero(~self._seen_keys.contains(keys))
        rows = fresh[np.unique(keys[fresh], return_index=True)[1]]
        rows = rows[np.argsort(us[rows], kind="stable")]
        self._yield = min(max(0.02, 0.7 * self._yield + 0.3 * len(rows) / tries), 0.5)
        who, what, us = who[rows], what[rows], us[rows]
        shared = self.posts["shared"][what]
        via = np.where(rng.random(len(rows)) < VIA_SHARE, shared, 0)
        done.likes = self.likes.add(
            len(rows),
            actor=who,
            to=what,
            us=us,
            key=(us - client_lags(rng, len(rows))) << 10 | rng.integers(0, 32, len(rows)),
            via=via,
        )
        np.add.at(self.posts["likes"], what, 1)
        self._seen_keys.add(keys[rows])
        self._seen_keys.drop_below(int(np.searchsorted(self.posts["us"], done.start_us - SEEN_WITHIN_US)) << 32)
        self._liked.add(who, what)

    def _look(self, rng: np.random.Generator, done: Step, tries: int, sums: F64) -> tuple[I64, I64, I64]:
        """Who likes which post when, in no order. Of the tries, more than half find nothing, or nothing fresh."""
        counts = rng.multinomial(tries, np.diff(sums, prepend=0.0) / sums[-1])
        recent = min(self.likes.n, max(200, int(self._per_us * LIKES * US_PER_DAY / 3)))
        around = Around(
            self._follow_starts, self._follow_keys, self._by_author.values, self._by_author.counts,
            self._liked.values, self._liked.counts, self._by_topic.values, self._by_topic.counts, self._topic_choice,
            self.likes["to"][self.likes.n - recent :], self.active,
        )  # fmt: skip
        habits = Habits(CHANNELS, float(FRESH_US), NOTICED_US, SEEN_WITHIN_US, len(words.LANGUAGES))
        dice = int(rng.integers(1 << 62))
        truth = self.truth
        return kernels.look(
            truth.people, truth.posts(), around, habits, counts, done.start_us, done.end_us, dice, truth.throw_salt
        )

    def _repost(self, rng: np.random.Generator, done: Step, expected: float) -> None:
        """Of what they liked just now, people share some."""
        n = done.likes.stop - done.likes.start
        if not n:
            return
        rows = np.arange(done.likes.start, done.likes.stop)
        who = self.likes["actor"][rows]
        chance = self.people.reposting[who]
        chance = np.minimum(1.0, chance * (expected / max(float(chance.sum()), 1e-9)))
        rows = rows[rng.random(n) < chance]
        who, what = self.likes["actor"][rows], self.likes["to"][rows]
        us = np.minimum(self.likes["us"][rows] + rng.integers(2 * US_PER_S, 30 * US_PER_S, len(rows)), done.end_us - 1)
        order = np.argsort(us, kind="stable")
        who, what, us = who[order], what[order], us[order]
        done.reposts = self.reposts.add(
            len(rows),
            actor=who,
            to=what,
            us=us,
            key=(us - client_lags(rng, len(rows))) << 10 | rng.integers(0, 32, len(rows)),
        )
        np.add.at(self.posts["reposts"], what, 1)
        self.posts["shared"][what] = np.arange(done.reposts.start, done.reposts.stop) + 1

    def _follow(self, rng: np.random.Generator, done: Step, expected: float, sums: F64) -> None:
        n = int(rng.poisson(expected))
        if not n:
            return
        tries = int(n * 1.6) + 8
        who, us = pick(rng, sums, tries), times_in(rng, done, tries)
        liked = self._liked.pick(who, rng.exponential(8.0, tries))
        author = (
            self.posts["author"][np.maximum(liked, 0)].astype(np.int64) if self.posts.n else np.zeros(tries, np.int64)
        )
        whom = np.where((liked >= 0) & (rng.random(tries) < 0.7), author, self.people.pick_authors(rng, who))
        keys = who << 32 | whom
        ok = (who != whom) & self.active[whom] & ~in_sorted(self._follow_keys, keys)
        first = np.sort(np.unique(keys[ok], return_index=True)[1])
        rows = np.flatnonzero(ok)[first][:n]
        done.follows = self.follows.add(
            len(rows),
            actor=who[rows],
            to=whom[rows],
            us=us[rows],
            key=(us[rows] - client_lags(rng, len(rows))) << 10 | rng.integers(0, 32, len(rows)),
        )
        new = np.sort(keys[rows])
        self._follow_keys = np.insert(self._follow_keys, np.searchsorted(self._follow_keys, new), new)

    # What people take back, and what becomes of them.

    def _regret(self, rng: np.random.Generator, done: Step, events: float) -> None:
        """Deletions of records, mostly recent ones."""
        for table, what, share in (
            (self.likes, "unlike", UNLIKES), (self.reposts, "unrepost", UNREPOSTS), (self.posts, "unpost",
            POST_DELETES),
            (self.follows, "unfollow", UNFOLLOWS), (self.blocks, "unblock", UNBLOCKS),
        ):  # fmt: skip
            owner = table["author"] if table is self.posts else table["actor"]
            made, gone = table["us"], table["gone"]
            reach = min(table.n, 20_000)
            for back, at in rng.random((int(rng.poisson(events * share)) if table.n else 0, 2)).tolist():
                row = table.n - 1 - int(reach * back**3)
                us = done.start_us + int(at * (done.end_us - done.start_us))
                us = max(us, int(made[row]) + int((3 + 600 * at * back) * US_PER_S))
                if gone[row] or not self.active[owner[row]] or us >= done.end_us:
                    continue
                gone[row] = us
                done.acts.append(Act(us, int(owner[row]), what, row))
                self._forget(what, row)

    def _forget(self, what: str, row: int) -> None:
        if what == "unlike":
            self.posts["likes"][self.likes["to"][row]] -= 1
        elif what == "unrepost":
            self.posts["reposts"][self.reposts["to"][row]] -= 1
            what_row = self.reposts["to"][row]
            if self.posts["shared"][what_row] == row + 1:
                self.posts["shared"][what_row] = 0
        elif what == "unfollow":
            self._unfollowed.append(int(self.follows["actor"][row]) << 32 | int(self.follows["to"][row]))

    def _change(self, rng: np.random.Generator, done: Step, events: float, sums: F64) -> None:
        """Profiles, blocks, handles, opt-outs."""
        for what, share in (
            ("profile", PROFILES),
            ("block", BLOCKS),
            ("identity", IDENTITIES),
            ("visibility", OPT_OUTS),
            ("sync", SYNCS),
        ):
            n = int(rng.poisson(events * share))
            for person, us, die in zip(
                pick(rng, sums, n).tolist(), times_in(rng, done, n).tolist(), rng.random(n).tolist(), strict=True
            ):
                self._change_one(done, what, person, us, die)

    def _change_one(self, done: Step, what: str, person: int, us: int, die: float) -> None:
        act = Act(us, person, what)
        if what == "profile":
            self.profile_version[person] += 1
            act.version = int(self.profile_version[person])
        elif what == "identity":
            self.handle_version[person] += die < 0.3  # most identity events repeat what is known
            act.version = int(self.handle_version[person])
        elif what == "visibility":
            self.hidden[person] = not self.hidden[person]
            act.version = int(self.hidden[person])
        elif what == "block":
            other = int(die * self.people.n)
            if other == person:
                return
            act.row = self.blocks.add(1, actor=person, to=other, us=us, key=us - US_PER_S << 10).start
        done.acts.append(act)

    def _depart(self, rng: np.random.Generator, done: Step, expected: float) -> None:
        """Accounts that leave, or say again that they are there."""
        n = int(rng.poisson(expected))
        people = pick(rng, np.cumsum(self.people.activity * self.active), n)
        for person, us, die in zip(
            people.tolist(), times_in(rng, done, n).tolist(), rng.random((n, 3)).tolist(), strict=True
        ):
            if self.active[person]:
                done.acts.append(Act(us, person, "account", detail=self._leave(person, us, die)))

    def _leave(self, person: int, us: int, die: list[float]) -> str:
        """The state that the account goes to; "" is a repeated "active"."""
        kind, back, delay = die
        away_us = int(3600 * US_PER_S * np.exp(4.5 * delay))
        state, returning = next((state, returning) for chance, state, returning in LEAVING if kind < chance)
        if state:
            self.active[person] = False
            if state == "deleted":
                self._erase(person, us)
            if back < returning:
                heapq.heappush(self._returns, (us + away_us, person))
        return state

    def _erase(self, person: int, us: int) -> None:
        """A deleted account takes its records along; the network sends no deletion for each of them."""
        for table in (self.posts, self.likes, self.reposts, self.follows, self.blocks):
            owner = table["author"] if table is self.posts else table["actor"]
            rows = np.flatnonzero((owner == person) & (table["gone"] == 0))
            table["gone"][rows] = us
            if table is self.likes:
                np.subtract.at(self.posts["likes"], table["to"][rows], 1)
            elif table is self.reposts:
                np.subtract.at(self.posts["reposts"], table["to"][rows], 1)
        first, last = self._follow_starts[person], self._follow_starts[person + 1]
        self._unfollowed += self._follow_keys[first:last].tolist()

    def _return(self, done: Step) -> None:
        while self._returns and self._returns[0][0] < done.end_us:
            when, person = heapq.heappop(self._returns)
            self.active[person] = True
            done.acts.append(Act(max(when, done.start_us), person, "account"))

    # Small questions.

    def _showable(self, rows: I64, now_us: int) -> NDArray[np.bool_]:
        if not self.posts.n:
            return np.zeros(len(rows), np.bool_)
        safe = np.maximum(rows, 0)
        shown: NDArray[np.bool_] = (self.posts["gone"][safe] == 0) & self.active[self.posts["author"][safe]]
        return shown & (self.posts["us"][safe] > now_us - SEEN_WITHIN_US)

    def _index_follows(self) -> None:
        """Once a step: the graph is an array, and each change of it a copy."""
        ended = np.array(self._unfollowed, np.int64)
        self._unfollowed.clear()
        at = np.searchsorted(self._follow_keys, ended[in_sorted(self._follow_keys, ended)])
        self._follow_keys = np.delete(self._follow_keys, at)
        self._follow_starts = np.searchsorted(self._follow_keys, np.arange(self.people.n + 1) << 32)
