"""A day's truth, sorted into a sidecar.

Two radix sorts put the edges into person order and into post order; the second walk drops repeats (a person who rated
a post twice) by a stamp per person. Everything heavy is compiled and runs without the GIL, straight into the mapped
file, which appears under its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feedgen.core.ids import DATED_TICK, NO_PERSON, NO_POST
from feedgen.core.jit import inline, njit
from feedgen.graph.access import I64, U8, U16, U32, US_PER_DAY, mix32, mix_key, tick_start_us
from feedgen.graph.faults import Area
from feedgen.graph.layout import (
    ALIGN,
    BEFORE_US,
    CLOCK_BITS,
    FAR,
    FORMAT,
    HEADER_BYTES,
    MAX_CLOCKS,
    NO_KEY,
    OFFSET_BITS,
    PAGE,
    SECTIONS,
    TICK_BITS,
    VERSION_AT,
    hash_word,
    packed_words,
    section_type,
)
from feedgen.graph.live import MAX_POSTS
from feedgen.graph.memory import own_array
from feedgen.graph.source import DaySource
from feedgen.graph.words import i64, load_bits
from feedgen.ingest.events import DELETED
from feedgen.store.names import MAX_PEOPLE

U64 = npt.NDArray[np.uint64]
DRAFT: Final = ".draft"
KEYS_PER_BUCKET: Final = 4
PACKED_KEYS_PER_BUCKET: Final = 16
POSTS_PER_BUCKET: Final = 16
_RADIX_BITS: Final = 11


@njit
def _pairs(keys: U32, hashed: bool) -> I64:
    """key << 32 | index, with the key hashed or not."""
    out = np.empty(keys.size, np.int64)
    for i in range(keys.size):
        key = i64(keys[i])
        out[i] = (mix32(key) if hashed else key) << 32 | i
    return out


@njit
def _split_by_post(posts: U32, slot: int, out: I64) -> int:
    """Pairs of the day's own posts by number, then of older posts by hash; how many are own."""
    own = 0
    for i in range(posts.size):
        own += posts[i] >> 24 == slot
    a, b = 0, own
    for i in range(posts.size):
        post = i64(posts[i])
        if post >> 24 == slot:
            out[a] = (post & 0xFF_FFFF) << 32 | i
            a += 1
        else:
            out[b] = mix32(post) << 32 | i
            b += 1
    return own


@njit
def _sort(pairs: I64) -> None:
    """Stable, by the upper 32 bits."""
    source, target = pairs, np.empty_like(pairs)
    starts = np.empty(1 << _RADIX_BITS, np.int64)
    for step in range(3):
        shift = 32 + step * _RADIX_BITS
        starts[:] = 0
        for pair in source:
            starts[(pair >> shift) & ((1 << _RADIX_BITS) - 1)] += 1
        total = 0
        for i in range(starts.size):
            count = starts[i]
            starts[i] = total
            total += count
        for pair in source:
            digit = (pair >> shift) & ((1 << _RADIX_BITS) - 1)
            target[starts[digit]] = pair
            starts[digit] += 1
        source, target = target, source
    pairs[:] = source


@njit
def _ascends(ticks: U16) -> bool:
    falls = 0
    for i in range(1, ticks.size):
        falls += ticks[i] < ticks[i - 1]
    return falls == 0


@njit
def _count_groups(pairs: I64) -> int:
    groups = 0
    for i in range(pairs.size):
        groups += i == 0 or (pairs[i] >> 32) & 0xFFFF_FFFF != (pairs[i - 1] >> 32) & 0xFFFF_FFFF
    return groups


@njit
def _mark_repeats(by_actor: I64, by_value: I64, repeats: U8, local: U32, groups: int) -> int:
    """Mark all but the first of equal edges; how many there are."""
    group = -1
    for i in range(by_actor.size):
        if i == 0 or by_actor[i] >> 32 != by_actor[i - 1] >> 32:
            group += 1
        local[by_actor[i] & 0xFFFF_FFFF] = group
    stamps = np.zeros(groups, np.uint32)
    stamp, found = 0, 0
    for i in range(by_value.size):
        # Own and older posts have keys of different kinds, but never the same stamp: a new group starts
        # whenever the key changes.
        if i == 0 or by_value[i] >> 32 != by_value[i - 1] >> 32:
            stamp += 1
        edge = by_value[i] & 0xFFFF_FFFF
        if stamps[local[edge]] == stamp:
            repeats[edge] = 1
            found += 1
        stamps[local[edge]] = stamp
    return found


@inline
def _put_bits(words: I64, index: int, width: int, value: int) -> None:
    """A number into words that are zero there."""
    word, shift = index * width >> 6, index * width & 63
    words[word] |= value << shift
    if shift + width > 64:
        words[word + 1] |= value >> (64 - shift)


@njit
def pack(values: U32, width: int, words: I64) -> None:
    for i in range(values.size):
        _put_bits(words, i, width, i64(values[i]) & ((i64(1) << width) - 1))


@njit
def unpack(words: I64, width: int, out: I64) -> None:
    """`words` are a packed section."""
    for i in range(out.size):
        out[i] = load_bits(words.ctypes.data, i, width)


@inline
def _value(edge: int, locals_: U32, ticks: U16) -> int:
    if not ticks.size:
        return i64(locals_[edge])
    tick = i64(ticks[edge])
    if tick != DATED_TICK:
        tick = max(tick >> (16 - TICK_BITS), DATED_TICK + 1)
    return i64(locals_[edge]) << TICK_BITS | tick


@njit
def _fill_keyed(
    pairs: I64, repeats: U8, locals_: U32, ticks: U16, start: int, keys: U32, offsets: I64, offset_width: int,
    out: I64, width: int,
) -> int:  # fmt: skip
    """Lists by sorted keys: keys, offsets (with an end), and packed values from `start` on."""
    group, at = -1, start
    for i in range(pairs.size):
        key = (pairs[i] >> 32) & 0xFFFF_FFFF
        if i == 0 or key != (pairs[i - 1] >> 32) & 0xFFFF_FFFF:
            group += 1
            keys[group] = key
            _put_bits(offsets, group, offset_width, at)
        edge = pairs[i] & 0xFFFF_FFFF
        if repeats[edge] == 0:
            _put_bits(out, at, width, _value(edge, locals_, ticks))
            at += 1
    _put_bits(offsets, group + 1, offset_width, at)
    return at


@njit
def _fill_own(
    pairs: I64, repeats: U8, locals_: U32, ticks: U16, posts: int, offsets: I64, offset_width: int, out: I64, width: int
) -> int:
    """Lists of the day's own posts: an offset for every number, and an end."""
    at, n = 0, 0
    for i in range(pairs.size):
        number = pairs[i] >> 32
        while n <= number:
            _put_bits(offsets, n, offset_width, at)
            n += 1
        edge = pairs[i] & 0xFFFF_FFFF
        if repeats[edge] == 0:
            _put_bits(out, at, width, _value(edge, locals_, ticks))
            at += 1
    while n <= posts:
        _put_bits(offsets, n, offset_width, at)
        n += 1
    return at


@njit
def _number_posts(own_pairs: I64, old_pairs: I64, posts: int, out: U32) -> None:
    """By edge, its post's number within the day: own ones as they are, older ones in the order of their keys."""
    for pair in own_pairs:
        out[pair & 0xFFFF_FFFF] = pair >> 32
    local = posts - 1
    for i in range(old_pairs.size):
        local += i == 0 or old_pairs[i] >> 32 != old_pairs[i - 1] >> 32
        out[old_pairs[i] & 0xFFFF_FFFF] = local


@njit
def _shorten_keys(day: int, ticks: U16, keys: I64, clock_of: I64, words: U32, far: I64) -> int:
    """Keys as words; how many are far. `clock_of`: the place of each clock id, or -1. `far` may be empty, to count."""
    found = 0
    for n in range(keys.size):
        key = keys[n]
        offset = (key >> 10) - day * US_PER_DAY - tick_start_us(i64(ticks[n])) + BEFORE_US
        clock = clock_of[key & 1023]
        if key >= 0 and 0 <= offset < 1 << OFFSET_BITS and clock >= 0:
            words[n] = offset << CLOCK_BITS | clock
        elif key == 0:
            words[n] = NO_KEY
        else:
            words[n] = FAR | found
            if far.size:
                far[found] = key
            found += 1
    return found


def _clocks(keys: I64) -> tuple[U16, I64]:
    """The dictionary of clock ids, and the place of each in it: those that most posts have."""
    counts = np.bincount(keys[keys > 0] & 1023, minlength=1024)
    clocks = np.argsort(-counts, kind="stable")[:MAX_CLOCKS].astype(np.uint16)
    places = np.full(1024, -1, np.int64)
    places[clocks] = np.arange(MAX_CLOCKS)
    return clocks, places


@njit
def fill_buckets(keys: U32, shift: int, buckets: U32) -> None:
    b = 0
    for i in range(keys.size):
        while b <= i64(keys[i]) >> shift:
            buckets[b] = i
            b += 1
    while b < buckets.size:
        buckets[b] = keys.size
        b += 1


@njit
def _fill_find(authors: U32, keys: I64, shift: int, starts: U32, find: U32) -> None:
    """Posts in buckets by author; a slot is 8 bits of hash of the key and the number plus one."""
    starts[:] = 0
    for n in range(authors.size):
        if authors[n] != NO_PERSON:
            starts[(mix32(i64(authors[n])) >> shift) + 1] += 1
    for b in range(1, starts.size):
        starts[b] += starts[b - 1]
    for n in range(authors.size):
        if authors[n] != NO_PERSON:
            author = i64(authors[n])
            bucket = mix32(author) >> shift
            find[starts[bucket]] = (mix_key(author, keys[n]) & 0xFF) << 24 | (n + 1)
            starts[bucket] += 1
    for b in range(starts.size - 1, 0, -1):
        starts[b] = starts[b - 1]
    starts[0] = 0


@njit
def sum_words(words: I64, first: int) -> int:
    """The checksum of some words of a section, the first of which has that index."""
    total = 0
    for i in range(words.size):
        total += hash_word(first + i, words[i])
    return total


@inline
def claims_later_day(key: int, day: int) -> bool:
    return key >= 0 and (key >> 10) // US_PER_DAY > day


@njit
def find_ahead(keys: I64, day: int, out: U32) -> int:
    """Numbers of posts whose key claims a later day; how many. `out` may be empty, to count."""
    n = 0
    for i in range(keys.size):
        if claims_later_day(keys[i], day):
            if n < out.size:
                out[n] = i
            n += 1
    return n


def bucket_shift(items: int, per_bucket: int) -> int:
    bits = 0
    while items > per_bucket << bits:
        bits += 1
    return 32 - bits


class _Edges:
    """One direction-free set of edges, sorted both ways."""

    def __init__(self, source: DaySource) -> None:
        actor, post, tick = source.ratings()
        self.actor, self.post = own_array(actor, np.uint32), own_array(post, np.uint32)
        self.tick = own_array(tick, np.uint16)
        good = (self.actor < MAX_PEOPLE) & (self.post & 0xFF_FFFF < MAX_POSTS)
        if not good.all():  # numbers that nobody gave
            self.actor, self.post, self.tick = self.actor[good], self.post[good], self.tick[good]
        if not _ascends(self.tick):  # a day's file may be in another order than time
            order = np.argsort(self.tick, kind="stable")
            self.actor, self.post, self.tick = self.actor[order], self.post[order], self.tick[order]
        self.by_person = _pairs(self.actor, True)
        _sort(self.by_person)
        self.by_post = np.empty(self.actor.size, np.int64)
        self.own = int(_split_by_post(self.post, source.day % 256, self.by_post))
        _sort(self.by_post[: self.own])
        _sort(self.by_post[self.own :])
        self.people = int(_count_groups(self.by_person))
        self.old = int(_count_groups(self.by_post[self.own :]))
        self.repeats = np.zeros(self.actor.size, np.uint8)
        self.person = np.empty(self.actor.size, np.uint32)  # the actor's number within the day
        repeated = 0
        for part in (self.by_post[: self.own], self.by_post[self.own :]):
            repeated += int(_mark_repeats(self.by_person, part, self.repeats, self.person, self.people))
        self.count = self.actor.size - repeated


class _Posts:
    """The posts of a day by number, gaps blank."""

    def __init__(self, source: DaySource, edges: _Edges) -> None:
        post, author, key, tick, flags, language, about = source.posts()
        slot = source.day % 256
        own = edges.post[edges.post >> 24 == slot]
        self.size = max((int(part.max()) & 0xFF_FFFF) + 1 if part.size else 0 for part in (post, own))
        n = post & 0xFF_FFFF
        self.columns: dict[str, npt.NDArray[Any]] = {}
        blanks = {"authors": NO_PERSON, "flags": DELETED, "abouts": NO_POST}
        given = {"authors": author, "keys": key, "ticks": tick, "flags": flags, "languages": language, "abouts": about}
        types = dict(SECTIONS)
        for name, values in given.items():
            column = np.full(self.size, blanks.get(name, 0), types[name])
            column[n] = values
            self.columns[name] = column


def build(path: Path, source: DaySource, identity: int) -> Path:
    """Write the sidecar of a day as a draft that is complete and on the disk. `put_in_place` gives it its name."""
    version = source.version()  # before the rest, so that no change is missed
    edges = _Edges(source)
    posts = _Posts(source, edges)
    follower, followed = source.follows()
    good = (follower < MAX_PEOPLE) & (followed < MAX_PEOPLE)
    follower, followed = own_array(follower[good], np.uint32), own_array(followed[good], np.uint32)
    follows = _pairs(follower, True)
    _sort(follows)
    followers = int(_count_groups(follows))
    repeats, kept = _follow_repeats(follows, followed)
    keys = posts.columns["keys"]
    ahead = np.empty(find_ahead(keys, source.day, np.empty(0, np.uint32)), np.uint32)
    find_ahead(keys, source.day, ahead)
    clocks, places = _clocks(keys)
    short = np.empty(posts.size, np.uint32)
    far = np.empty(
        _shorten_keys(source.day, posts.columns["ticks"], keys, places, short, np.empty(0, np.int64)), np.int64
    )
    _shorten_keys(source.day, posts.columns["ticks"], keys, places, short, far)
    written = int(np.count_nonzero(posts.columns["authors"] != NO_PERSON))
    shifts = {
        "old": bucket_shift(edges.old, PACKED_KEYS_PER_BUCKET),
        "people": bucket_shift(edges.people, PACKED_KEYS_PER_BUCKET),
        "follow": bucket_shift(followers, PACKED_KEYS_PER_BUCKET),
        "find": bucket_shift(written, POSTS_PER_BUCKET),
    }
    counts = {
        "own_offsets": posts.size + 1, "likers": edges.count, "own_holes": posts.size,
        "old_keys": edges.old, "old_offsets": edges.old + 1, "old_buckets": _buckets(shifts["old"]),
        "old_holes": edges.old,
        "people_keys": edges.people, "people_offsets": edges.people + 1, "people_buckets": _buckets(shifts["people"]),
        "people_holes": edges.people, "likes": edges.count, "liker_ticks": 0, "like_ticks": 0,
        "follow_keys": followers, "follow_offsets": followers + 1, "follow_buckets": _buckets(shifts["follow"]),
        "follows": kept,
        "find": written, "find_buckets": _buckets(shifts["find"]), "ahead": ahead.size,
        "far_keys": far.size, "clocks": clocks.size,
        **{name: posts.size for name in posts.columns},
    }  # fmt: skip
    author = posts.columns["authors"]
    widths = {
        "own_offsets": _width(edges.count), "old_offsets": _width(edges.count), "people_offsets": _width(edges.count),
        "follow_offsets": _width(kept), "own_holes": 1, "old_holes": 1, "people_holes": 1,
        "likers": _width(edges.people) + TICK_BITS, "likes": _width(posts.size + edges.old) + TICK_BITS,
        "follows": _width(int(followed.max()) + 1 if kept else 0),
        "authors": _width(int(author[author != NO_PERSON].max()) + 1 if written else 0),
    }  # fmt: skip
    draft = path.with_suffix(DRAFT)
    try:
        with _File(draft, source.day, identity, counts, widths, shifts) as file:
            sections = file.sections
            sections["ahead"][:], sections["far_keys"][:], sections["clocks"][:] = ahead, far, clocks
            sections["keys"][:] = short
            for name in ("ticks", "flags", "languages", "abouts"):
                sections[name][:] = posts.columns[name]
            pack(author, widths["authors"], sections["authors"])
            _fill_find(author, keys, shifts["find"], sections["find_buckets"], sections["find"])
            _fill_edges(sections, widths, edges, posts.size)
            _fill_keyed(
                follows, repeats, followed, np.empty(0, np.uint16), 0,
                sections["follow_keys"], sections["follow_offsets"], widths["follow_offsets"],
                sections["follows"], widths["follows"],
            )  # fmt: skip
            for group in ("old", "people", "follow"):
                fill_buckets(sections[f"{group}_keys"], shifts[group], sections[f"{group}_buckets"])
            file.finish(version)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _width(count: int) -> int:
    """Bits for numbers up to `count`, and for all ones besides, which is a hole."""
    return (count + 1).bit_length()


def put_in_place(draft: Path, path: Path) -> None:
    os.replace(draft, path)
    _sync_folder(path.parent)


def _fill_edges(sections: dict[str, npt.NDArray[Any]], widths: dict[str, int], edges: _Edges, posts: int) -> None:
    own, old = edges.by_post[: edges.own], edges.by_post[edges.own :]
    offsets, likers = widths["own_offsets"], widths["likers"]
    at = _fill_own(
        own, edges.repeats, edges.person, edges.tick, posts, sections["own_offsets"], offsets,
        sections["likers"], likers,
    )  # fmt: skip
    _fill_keyed(
        old, edges.repeats, edges.person, edges.tick, at, sections["old_keys"], sections["old_offsets"], offsets,
        sections["likers"], likers,
    )  # fmt: skip
    post = np.empty(edges.actor.size, np.uint32)
    _number_posts(own, old, posts, post)
    _fill_keyed(
        edges.by_person, edges.repeats, post, edges.tick, 0, sections["people_keys"], sections["people_offsets"],
        widths["people_offsets"], sections["likes"], widths["likes"],
    )  # fmt: skip


def _follow_repeats(pairs: I64, followed: U32) -> tuple[U8, int]:
    """Mark all but the first of equal follows; how many are left."""
    by_subject = _pairs(followed, True)
    _sort(by_subject)
    repeats, local = np.zeros(followed.size, np.uint8), np.empty(followed.size, np.uint32)
    repeated = int(_mark_repeats(pairs, by_subject, repeats, local, int(_count_groups(pairs))))
    return repeats, followed.size - repeated


def _buckets(shift: int) -> int:
    return (1 << (32 - shift)) + 1


class _File:
    """A sidecar in the making: room for all sections is taken first, so that a full disk is an error here and not a
    fault in a mapped page.
    """

    def __init__(
        self,
        path: Path,
        day: int,
        identity: int,
        counts: dict[str, int],
        widths: dict[str, int],
        shifts: dict[str, int],
    ) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        self._types = {name: np.dtype(section_type(name, FORMAT)) for name, _ in SECTIONS}
        at = HEADER_BYTES
        for name, dtype in self._types.items():
            length = packed_words(counts[name], widths[name]) if name in widths else counts[name]
            self._places[name] = (at, length)
            at += -(-length * dtype.itemsize // ALIGN) * ALIGN
        header = {
            "format": FORMAT, "day": day, "identity": identity, "bytes": at,
            "shifts": shifts, "sections": self._places,
            "packed": {name: (counts[name], width) for name, width in widths.items()},
        }  # fmt: skip
        text = json.dumps(header, separators=(",", ":"))
        self._line = f"{text}\n{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}\n".encode()
        if len(self._line) > PAGE:
            raise AssertionError("the header outgrew its page")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._fd, 0, at)
            self._map = mmap.mmap(self._fd, at)
        except BaseException:
            os.close(self._fd)
            raise
        whole = np.frombuffer(self._map, np.uint8)
        self._whole = whole
        self._area = Area(whole.ctypes.data, whole.size, self._fd, self._break)
        self.sections: dict[str, npt.NDArray[Any]] = {}
        for name, dtype in self._types.items():
            start, length = self._places[name]
            self.sections[name] = whole[start : start + length * dtype.itemsize].view(dtype)

    def __enter__(self) -> _File:
        return self

    def _break(self) -> None:
        """`finish` says so."""

    def finish(self, version: int) -> None:
        """Checksums, header, and all of it on the disk."""
        self._whole[VERSION_AT : VERSION_AT + 8].view(np.int64)[0] = version
        sums = self._whole[PAGE : PAGE + 8 * len(SECTIONS)].view(np.int64)
        for i, (name, dtype) in enumerate(self._types.items()):
            sums[i] = sum_words(section_words(self._whole, *self._places[name], dtype.itemsize), 0)
        self._whole[: len(self._line)] = np.frombuffer(self._line, np.uint8)
        os.fsync(self._fd)  # writes mapped pages too, and lets other threads run meanwhile
        if self._area.broken:
            raise OSError(errno.ENOSPC, "a page of a new file could not be written")

    def __exit__(self, *_: object) -> None:
        self._area.close()
        self.sections.clear()
        del self._whole
        with contextlib.suppress(
            BufferError
        ):  # an error's traceback may still hold a section: then the last of them unmaps
            self._map.close()
        os.close(self._fd)


def section_words(whole: U8, start: int, length: int, itemsize: int) -> I64:
    """A section as 8-byte words; sections are padded with zeros."""
    words: I64 = whole[start : start + -(-length * itemsize // 8) * 8].view(np.int64)
    return words


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
