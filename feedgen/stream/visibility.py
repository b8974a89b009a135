"""What a stream may show, by the one policy (rank/policy.py): as to somebody logged out, without adult content."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from feedgen.core.clock import Clock
from feedgen.core.ids import NO_POST, rkey_to_int
from feedgen.graph.view import View
from feedgen.ingest.events import ADULT
from feedgen.rank.policy import MAY, Policy, list_policy, verdicts
from feedgen.rank.record_policy import may_pass
from feedgen.stream.happening import Happening, author_of
from feedgen.stream.known import Entry, Known

RENEW_S: Final = 0.05  # so old may the arrays be that are looked at


class Library(Protocol):
    def view(self) -> View: ...
    def person(self, did: str) -> int | None: ...


class Visibility:
    def __init__(self, library: Library, known: Known, adult: bool, clock: Clock) -> None:
        self._library, self._known, self._adult, self._clock = library, known, adult, clock
        self._renew_at_s = 0.0
        self._view: View | None = None
        self._policy: Policy | None = None

    def renew(self) -> None:
        """Before a piece of work: the arrays as they are now."""
        now_s = self._clock.monotonic_s()
        if self._view is not None and now_s < self._renew_at_s:
            return
        self._renew_at_s = now_s + RENEW_S
        self._view = self._library.view()
        self._policy = list_policy(self._view, 0, 0 if self._adult else ADULT, self._adult, logged_out=True)

    def release(self) -> None:
        """Nobody listens: nothing of the arrays is kept."""
        self._view = self._policy = None

    def may_pass(self, happening: Happening) -> bool:
        """A deletion says nothing of what was deleted, so it always passes."""
        if happening.operation == "delete" or happening.kind != "commit":
            return True
        return self._may(happening.did, happening.flags)

    def profile(self, did: str) -> Entry | None:
        """What may be shown of a person: nothing, if they may not be shown."""
        entry = self._known.profiles.get(did)
        return entry if entry is not None and entry.there and self._may(did, 0, entry.flags) else None

    def posts(self, uris: list[str]) -> dict[str, tuple[Entry, int]]:
        """Those of these posts that are known and may be shown, with the number of likes and reposts that we heard."""
        found = {}
        for uri in uris:
            entry = self._known.posts.get(uri)
            if entry is not None and entry.there and self._may(author_of(uri), entry.flags, entry.author_flags):
                found[uri] = entry
        counts = self._counts(list(found))
        return {uri: (entry, counts[uri]) for uri, entry in found.items() if counts[uri] >= 0}

    def _may(self, did: str, flags: int, author_flags: int = 0) -> bool:
        if did in self._known.gone:
            return False
        _, policy = self._now()
        return may_pass(policy, self._library.person(did), flags, author_flags)

    def _now(self) -> tuple[View, Policy]:
        if self._view is None or self._policy is None:
            self.renew()
        assert self._view is not None
        assert self._policy is not None
        return self._view, self._policy

    def _counts(self, uris: list[str]) -> dict[str, int]:
        """Ratings of each; -1 for posts that may not be shown: deleted, or hidden by labels."""
        if not uris:
            return {}
        view, policy = self._now()
        people = [self._library.person(author_of(uri)) for uri in uris]
        named = [(uri, person) for uri, person in zip(uris, people, strict=True) if person is not None]
        counts = dict.fromkeys(uris, 0)
        if not named:
            return counts
        keys = [rkey_to_int(uri.rpartition("/")[2]) for uri, _ in named]
        numbers = view.find_posts([person for _, person in named], keys)
        there = np.flatnonzero(numbers != NO_POST)
        if there.size:
            judged = verdicts(view, numbers[there], policy)
            for at, bad in zip(there.tolist(), judged.tolist(), strict=True):
                facts = view.post(int(numbers[at]))
                counts[named[at][0]] = -1 if bad != MAY else facts.count if facts is not None else 0
        return counts
