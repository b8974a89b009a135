"""The cost of feeds by words: CPU of a post to match, and of an event with and without them, committed and ranked.

Ten feeds of ten patterns each: words, phrases, hashtags and hosts, of which some are frequent. The frames have the
network's mix, and posts a text of words that the patterns share.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from feedgen.graph.archive import Archive
from feedgen.ingest.batch import BatchBuilder
from feedgen.ingest.gather import gather
from feedgen.ingest.matcher import Matcher, hashtag, link, word

from . import Figure, Params
from .decode import make_frames

PARAMETERS = {"events": 60_000, "repeats": 3, "feeds": 10}
PIECE = 500
US_PER_DAY = 86_400_000_000
_WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "my",
    "for",
    "on",
    "with",
    "this",
    "you",
    "that",
    "is",
    "it",
    "at",
    "was",
    "are",
    "so",
    "but",
    "have",
    "new",
    "just",
    "like",
    "what",
    "good",
    "day",
    "time",
    "people",
    "love",
    "thanks",
    "today",
    "about",
    "all",
    "can",
    "when",
    "who",
    "they",
    "more",
    "been",
    "one",
    "really",
    "think",
    "know",
    "see",
    "got",
    "here",
    "would",
    "very",
    "rust",
    "jazz",
    "paint",
    "election",
    "climate",
    "train",
    "soccer",
    "vinyl",
    "coffee",
    "baking",
    "borrow",
    "checker",
    "music",
    "photo",
    "garden",
    "birds",
]


def patterns(feeds: int) -> list[str]:
    """Ten a feed: four words, two phrases, two hashtags, two hosts."""
    found = list[str]()
    for i in range(feeds):
        known, rng = _WORDS[50:], random.Random(i)
        found += [word(f"topic{i}x{k}") for k in range(3)] + [word(rng.choice(known))]
        found += [word(f"phrase {i} {k}") for k in range(2)]
        found += [hashtag(f"tag{i}x{k}") for k in range(2)] + [link(f"site{i}x{k}.example.com") for k in range(2)]
    return found


def run(params: Params) -> Iterator[Figure]:
    matcher = Matcher(patterns(int(params["feeds"])))
    frames = _with_text(list(make_frames(int(params["events"]), "v1", start_us=20_500 * US_PER_DAY)))
    posts = [frame for frame in frames if b'"app.bsky.feed.post"' in frame and b'"text"' in frame]
    best, hits = float("inf"), 0
    for _ in range(int(params["repeats"])):
        start_s = time.process_time()
        hits = sum(bool(matcher.match(post)) for post in posts)
        best = min(best, time.process_time() - start_s)
    share = f"{100 * hits / len(posts):.0f}% of {len(posts):,} posts match, {len(matcher.patterns)} patterns"
    yield Figure("feeds.match_us", best / len(posts) * 1e6, "us/post", share)
    spent = {None: float("inf"), matcher: float("inf")}
    for _ in range(int(params["repeats"])):
        for which in spent:  # in turns, so that both meet the same machine
            spent[which] = min(spent[which], _record(frames, which))
    events = len(frames)
    yield Figure(
        "feeds.ingest_us_without", spent[None] / events * 1e6, "us/event", "gathered, committed, in the arrays"
    )
    yield Figure("feeds.ingest_us_with", spent[matcher] / events * 1e6, "us/event")
    yield Figure("feeds.ingest_ratio", spent[None] / spent[matcher], "", "events a core second, with to without")


def _record(frames: list[bytes], matcher: Matcher | None) -> float:
    """CPU of this process for all of the frames, into a new archive."""
    with tempfile.TemporaryDirectory() as folder, Archive(Path(folder)) as archive:
        builder, day = BatchBuilder("host"), 20_500
        start_s = time.process_time()
        for start in range(0, len(frames), PIECE):
            piece = gather(frames[start : start + PIECE], Counter(), matcher)
            if not builder.extend(piece, day):
                archive.recorder.apply(builder.take())
                builder.extend(piece, day)
        archive.recorder.apply(builder.take())
        return time.process_time() - start_s


def _with_text(frames: list[bytes]) -> list[bytes]:
    rng, made = random.Random(7), list[bytes]()
    for frame in frames:
        if b'"app.bsky.feed.post"' in frame and b'"createdAt"' in frame and b'"subject"' not in frame:
            read = json.loads(frame)
            record = read["commit"]["record"]
            record["text"] = " ".join(rng.choices(_WORDS, k=rng.randrange(3, 40)))
            frame = json.dumps(read, separators=(",", ":")).encode()
        made.append(frame)
    return made
