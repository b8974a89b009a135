"""Decode many messages at once: common ones by compiled code (scan.py), the others one by one (events.decode).

The same events come out as from `decode` on each message. What differs is the cost: a tenth of it for nearly all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from feedgen.core.ids import FOLLOW_NSID, LIKE, LIKE_NSID, POST_NSID, REPOST, REPOST_NSID
from feedgen.ingest import scan as s
from feedgen.ingest.batch import Follows, Piece, Posts, Ratings, add_create
from feedgen.ingest.events import Account, Block, Delete, Dropped, Event, Follow, Identity, Post, Rating, Sync, decode
from feedgen.ingest.matcher import Matcher

Which = npt.NDArray[np.intp]

_COLLECTIONS: Final = {LIKE: LIKE_NSID, REPOST: REPOST_NSID, s.POST: POST_NSID, s.FOLLOW: FOLLOW_NSID}
_NOTHING: Final = 254  # a message that turned out to be no event


def gather(messages: Sequence[bytes], dropped: Counter[str], matcher: Matcher | None = None) -> Piece:
    """The events of these inflated messages; messages that are not events are counted in `dropped`, and posts get the
    patterns of feeds that they match.

    Some orders get lost in columns: a create after a deletion of the same record, anything after a change of the same
    person's account, an update of a record. The piece's `cut` says how many messages come before that.
    """
    scanned = s.scan(messages)
    kinds = scanned.fields[s.KIND]
    ratings, posts = np.flatnonzero(kinds <= REPOST), np.flatnonzero(kinds == s.POST)
    follows = np.flatnonzero(kinds == s.FOLLOW)
    columns = _ratings(scanned, ratings), _posts(scanned, posts), _follows(scanned, follows)
    piece = Piece(len(messages), *columns)
    created = {Rating: ratings.tolist(), Post: posts.tolist(), Follow: follows.tolist()}  # where each row came
    rare_at: list[int] = []
    for i in np.flatnonzero(kinds > s.FOLLOW).tolist():
        event = _deleted(scanned, i) if kinds[i] < _NOTHING else decode(messages[i])
        if not isinstance(event, Event):
            if isinstance(event, Dropped):
                dropped[event.reason] += 1
            kinds[i] = _NOTHING
            continue
        if isinstance(event, Sync):
            piece.cut = min(piece.cut, i)  # what follows depends on it
        scanned.fields[s.TIME, i], scanned.fields[s.SEQ, i] = event.time_us, event.seq
        if isinstance(event, Rating | Post | Follow):
            rows = created[type(event)]
            row = bisect_left(rows, i)
            rows.insert(row, i)
            add_create(piece, event, row)
            if event.updated and not isinstance(event, Post):
                piece.cut = min(piece.cut, i)
        else:
            piece.rare.append(event)
            rare_at.append(i)
    if matcher is not None:
        piece.posts.tags = [matcher.match(messages[i]) for i in created[Post]]
    there = kinds != _NOTHING
    piece.times_us, piece.seqs = scanned.fields[s.TIME, there], scanned.fields[s.SEQ, there]
    piece.events = int(there.sum())
    if piece.rare:
        piece.cut = _conflict(piece, list(created.values()), rare_at)
    return piece


def _conflict(piece: Piece, created: list[list[int]], rare_at: list[int]) -> int:
    """The first message that means something else when all creates come first, and then the rare events."""
    first = piece.cut
    deleted: dict[tuple[str, str], int] = {}
    changed: dict[str, int] = {}
    for event, i in zip(piece.rare, rare_at, strict=True):
        if not isinstance(event, Identity | Block) and changed.setdefault(event.did, i) < i:
            first = min(first, i)
        if isinstance(event, Delete):
            deleted.setdefault((event.did, event.rkey), i)
        if not isinstance(event, Account) and changed.get(event.did) == i:
            del changed[event.did]
    rkeys = {rkey for _, rkey in deleted}
    for people, keys, at in zip(piece.people, piece.rkeys, created, strict=True):
        if not rkeys.isdisjoint(keys):
            again = (i for did, rkey, i in zip(people, keys, at, strict=True) if deleted.get((did, rkey), i) < i)
            first = min(first, next(again, first))
        if not changed.keys().isdisjoint(people):
            after = (i for did, i in zip(people, at, strict=True) if changed.get(did, i) < i)
            first = min(first, next(after, first))
    return first


def _ratings(scanned: s.Scanned, which: Which) -> Ratings:
    f = scanned.fields[:, which]
    return Ratings(
        scanned.slices(f[s.DID_AT], s.DID_LENGTH),
        f[s.KIND].tolist(),
        scanned.slices(f[s.RKEY_AT], s.RKEY_LENGTH),
        scanned.slices(f[s.SUBJECT_AT], s.URI_LENGTH),
        f[s.TIME].tolist(),
    )


def _posts(scanned: s.Scanned, which: Which) -> Posts:
    f = scanned.fields[:, which]
    abouts: list[str | None] = [None] * len(which)
    at = np.flatnonzero(f[s.SUBJECT_AT])
    for i, uri in zip(at.tolist(), scanned.slices(f[s.SUBJECT_AT, at], s.URI_LENGTH), strict=True):
        abouts[i] = uri
    return Posts(
        scanned.slices(f[s.DID_AT], s.DID_LENGTH),
        scanned.slices(f[s.RKEY_AT], s.RKEY_LENGTH),
        f[s.TIME].tolist(),
        f[s.FLAGS].tolist(),
        scanned.languages(which),
        abouts,
        [False] * len(which),
        [()] * len(which),
    )


def _follows(scanned: s.Scanned, which: Which) -> Follows:
    f = scanned.fields[:, which]
    return Follows(
        scanned.slices(f[s.DID_AT], s.DID_LENGTH),
        scanned.slices(f[s.RKEY_AT], s.RKEY_LENGTH),
        scanned.slices(f[s.SUBJECT_AT], s.DID_LENGTH),
    )


def _deleted(scanned: s.Scanned, i: int) -> Delete:
    f, text = scanned.fields[:, i].tolist(), scanned.text
    return Delete(
        did=text[f[s.DID_AT] : f[s.DID_AT] + s.DID_LENGTH],
        time_us=f[s.TIME],
        seq=f[s.SEQ],
        collection=_COLLECTIONS[f[s.KIND] - s.DELETE],
        rkey=text[f[s.RKEY_AT] : f[s.RKEY_AT] + s.RKEY_LENGTH],
    )
