"""What people do in a few days, as events: the same for the process that is recorded and for the check afterwards."""

from __future__ import annotations

import random
from typing import Final

from feedgen.core.ids import FOLLOW_NSID, LIKE, LIKE_NSID, POST_NSID, REPOST, REPOST_NSID, make_tid
from feedgen.ingest.events import KNOWN, NO_UNAUTHENTICATED, Account, Delete, Event, Follow, Post, Profile, Rating
from tests.graph.network import NOON_US, did, uri

STEP_US: Final = 20_000_000
_NSID: Final = {LIKE: LIKE_NSID, REPOST: REPOST_NSID}


def story(
    seed: int, count: int, start_us: int = NOON_US, step_us: int = STEP_US, farewells: float = 0.01
) -> list[Event]:
    """`farewells` is the share of deleted accounts. A record's key is used once, and nobody speaks of a post or an
    account that is gone: such cases are tried in tests/graph/test_recorder.py.
    """
    rng = random.Random(seed)
    people = [did(n) for n in range(60)] + ["did:web:one.example", "did:web:two.example"]
    posts: list[str] = []
    made: list[tuple[str, str, str]] = []  # (DID, collection, key)
    events: list[Event] = []
    for seq in range(1, count + 1):
        us = start_us + seq * step_us
        who = rng.choice(people)
        if rng.random() < 0.15:  # somebody never seen
            who = did(60 + seq)
            people.append(who)
        claimed = us - rng.choice([0, 0, 0, 0, 5_000_000, 400_000_000, 90_000_000_000])
        rkey = make_tid(claimed + seq) if rng.random() < 0.96 else f"odd-{seq}"
        dice = rng.random()
        if dice < 0.2 or not posts:
            about = rng.choice(posts) if posts and rng.random() < 0.3 else None
            language = rng.randrange(1, 4)
            events.append(
                Post(
                    did=who, time_us=us, seq=seq, rkey=rkey, flags=KNOWN, language=language, about=about, updated=False
                )
            )
            posts.append(uri(who, rkey))
            made.append((who, POST_NSID, rkey))
        elif dice < 0.68:
            subject = rng.choice(posts[-40:]) if rng.random() < 0.9 else uri(rng.choice(people), make_tid(us - seq))
            kind = rng.choice([LIKE, LIKE, REPOST])
            events.append(Rating(did=who, time_us=us, seq=seq, kind=kind, rkey=rkey, subject=subject, updated=False))
            made.append((who, _NSID[kind], rkey))
        elif dice < 0.75:
            events.append(Follow(did=who, time_us=us, seq=seq, rkey=rkey, subject=rng.choice(people), updated=False))
            made.append((who, FOLLOW_NSID, rkey))
        elif dice < 0.97 - farewells and made:
            old = made.pop(rng.randrange(len(made)) if rng.random() < 0.5 else -1 - rng.randrange(min(20, len(made))))
            events.append(Delete(did=old[0], time_us=us, seq=seq, collection=old[1], rkey=old[2]))
            posts = [post for post in posts if post != uri(old[0], old[2])]
        elif dice < 0.97:
            events.append(Account(did=who, time_us=us, seq=seq, active=False, status="deleted"))
            posts = [post for post in posts if f"//{who}/" not in post]
            made = [one for one in made if one[0] != who]
            people = [each for each in people if each != who]
        else:
            flags = rng.choice([0, NO_UNAUTHENTICATED])
            events.append(Profile(did=who, time_us=us, seq=seq, flags=flags))
    return events
