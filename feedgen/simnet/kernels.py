"""Compiled loops: looking around, the chance of a like, and identifiers as text. Nothing here holds state or
throws dice of its own.

Dice come from splitmix64 of a counter, so a loop may stop anywhere and still be the same the next time.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.jit import inline, njit

TID, CID, ISO_MS, ISO_US = 0, 1, 2, 3
WIDTHS: Final = (13, 52, 24, 27)
TID_CHARS: Final = np.frombuffer(b"234567abcdefghijklmnopqrstuvwxyz", np.uint8).copy()
B32_CHARS: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8).copy()

# The log-odds of a like.
NEUTRAL: Final = -3.9
TOPIC: Final = 3.8  # of the person's first interest
STYLE: Final = 2.2
QUALITY: Final = 0.8
FOREIGN: Final = -4.0  # written in a language that the person does not read
FOREIGN_PICTURE: Final = -1.5  # a picture needs fewer words
ADULT: Final = -2.5
IMAGE, VIDEO = 1, 2  # of the posts' `media`


class PeopleColumns(NamedTuple):
    taste: NDArray[np.float32]
    style: NDArray[np.float32]
    language: NDArray[np.int8]
    second: NDArray[np.int8]
    visual: NDArray[np.float32]
    adult: NDArray[np.bool_]


class PostColumns(NamedTuple):
    author: NDArray[np.int32]
    us: NDArray[np.int64]
    gone: NDArray[np.int64]
    topic: NDArray[np.int8]
    language: NDArray[np.int8]
    media: NDArray[np.int8]
    adult: NDArray[np.bool_]
    quality: NDArray[np.float32]
    style: NDArray[np.float32]


class Around(NamedTuple):
    """What there is to be seen: who follows whom, and rings of the newest posts by author, by person who liked them,
    by topic."""

    follow_starts: NDArray[np.int64]
    follow_keys: NDArray[np.int64]
    authored: NDArray[np.int64]
    authored_counts: NDArray[np.int64]
    liked: NDArray[np.int64]
    liked_counts: NDArray[np.int64]
    topical: NDArray[np.int64]
    topical_counts: NDArray[np.int64]
    topic_choice: NDArray[np.int8]  # 64 equal chances a person
    popular: NDArray[np.int32]  # posts of the newest likes, newest last
    active: NDArray[np.bool_]


class Habits(NamedTuple):
    """How people look around; behaviour.py says why."""

    channels: tuple[float, float, float]
    fresh_us: float
    noticed_us: int
    within_us: int
    languages: int


@inline
def mix(value: Any, salt: Any) -> Any:
    """splitmix64; the same as text.mix."""
    x = np.uint64(value) + np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@inline
def unit(h: Any) -> Any:
    """A hash as a number in [0, 1)."""
    return np.float64(h >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@inline
def chance(p: Any, q: Any, who: Any, what: Any) -> Any:
    """The chance that this person likes this post if they see it."""
    if q.author[what] == who:
        return 0.0  # nobody likes their own
    odds = NEUTRAL + TOPIC * p.taste[who, q.topic[what]] + QUALITY * q.quality[what]
    dot = 0.0
    for k in range(p.style.shape[1]):
        dot += p.style[who, k] * q.style[what, k]
    odds += STYLE * dot
    pictured = q.media[what] == IMAGE or q.media[what] == VIDEO
    if pictured:
        odds += p.visual[who]
    if p.language[who] != q.language[what] and p.second[who] != q.language[what]:
        odds += FOREIGN_PICTURE if pictured else FOREIGN
    if q.adult[what] and not p.adult[who]:
        odds += ADULT
    return 1.0 / (1.0 + np.exp(-odds))


@njit
def chances(p: PeopleColumns, q: PostColumns, who: NDArray[np.int64], what: NDArray[np.int64]) -> NDArray[np.float64]:
    out = np.empty(len(who), np.float64)
    for i in range(len(who)):
        out[i] = chance(p, q, who[i], what[i])
    return out


@inline
def ring(values: Any, counts: Any, key: Any, back: Any) -> Any:
    """The value some places before the newest, wrapped into what is there; -1 where there is none."""
    depth = values.shape[1]
    have = min(counts[key], depth)
    if have == 0:
        return np.int64(-1)
    step = np.int64(back) % have
    return values[key, (counts[key] - 1 - step) % depth]


@njit
def look(
    p: PeopleColumns,
    q: PostColumns,
    a: Around,
    h: Habits,
    counts: NDArray[np.int64],
    start_us: int,
    end_us: int,
    dice: int,
    throw_salt: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Everybody looks around `counts` times. Returns (who, what, when) of what they like, in order of person, repeats
    included."""
    tries = counts.sum()
    who_out, what_out, us_out = np.empty(tries, np.int64), np.empty(tries, np.int64), np.empty(tries, np.int64)
    n, die = 0, np.uint64(dice)
    for who in range(len(counts)):
        first, last = a.follow_starts[who], a.follow_starts[who + 1]
        for _ in range(counts[who]):
            die += np.uint64(1)
            where = mix(die, 1)
            channel = unit(where)
            x = mix(die, 2)
            back = -4.0 * np.log(1.0 - unit(x))
            us = start_us + np.int64(mix(die, 3) % np.uint64(end_us - start_us))
            what = np.int64(-1)
            if channel < h.channels[1]:
                if last > first:
                    friend = a.follow_keys[first + np.int64(where % np.uint64(last - first))] & 0xFFFFFFFF
                    if channel < h.channels[0]:
                        # Of two friends the one who wrote last: a timeline is mostly of those who write much.
                        other = a.follow_keys[first + np.int64(x % np.uint64(last - first))] & 0xFFFFFFFF
                        if ring(a.authored, a.authored_counts, other, 0) > ring(
                            a.authored, a.authored_counts, friend, 0
                        ):
                            friend = other
                        what = ring(a.authored, a.authored_counts, friend, back)
                    else:
                        what = ring(a.liked, a.liked_counts, friend, back * 2.0)
            elif channel < h.channels[2]:
                if len(a.popular):
                    u = unit(mix(die, 4))
                    what = np.int64(a.popular[len(a.popular) - 1 - np.int64(len(a.popular) * u * u)])
            else:
                key = np.int64(a.topic_choice[who, where & np.uint64(63)]) * h.languages + p.language[who]
                what = ring(a.topical, a.topical_counts, key, back * 8.0)
            if what < 0:
                continue
            age = us - q.us[what]  # the most frequent reason to look away comes first
            if age < h.noticed_us or age > h.within_us or unit(mix(die, 5)) > np.exp(-age / h.fresh_us):
                continue
            if q.gone[what] != 0 or not a.active[q.author[what]]:
                continue
            if unit(mix(np.uint64(what) << np.uint64(32) | np.uint64(who), throw_salt)) < chance(p, q, who, what):
                who_out[n], what_out[n], us_out[n] = who, what, us
                n += 1
    return who_out[:n], what_out[:n], us_out[:n]


@inline
def put_tid(out: Any, at: Any, value: Any) -> None:
    for k in range(13):
        out[at + k] = TID_CHARS[(value >> (60 - 5 * k)) & 31]


@inline
def put_cid(out: Any, at: Any, key: Any) -> None:
    """The 52 characters after a CID's fixed seven."""
    for word in range(5):
        bits = mix(key, word + 1)
        for k in range(12):
            c = word * 12 + k
            if c >= 52:
                break
            digit = np.int64((bits >> np.uint64(5 * k)) & np.uint64(31))
            if c == 0:
                digit &= 7  # two bits of the fixed header reach into this character
            elif c == 51:
                digit &= 28  # and the last one carries three bits only
            out[at + c] = B32_CHARS[digit]


@inline
def put_digits(out: Any, at: Any, value: Any, width: Any) -> None:
    for k in range(width - 1, -1, -1):
        out[at + k] = 48 + value % 10
        value //= 10


@inline
def put_time(out: Any, at: Any, us: Any, digits: Any) -> None:
    """`2026-11-20T12:34:56.789Z` with so many digits of the second."""
    second = us // 1_000_000
    days = second // 86_400
    rest = second % 86_400
    # The civil calendar from a count of days, after the usual shift to years that start in March.
    z = days + 719_468
    era = z // 146_097
    doe = z - era * 146_097
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (1 if month <= 2 else 0)
    put_digits(out, at, year, 4)
    out[at + 4] = out[at + 7] = 45
    put_digits(out, at + 5, month, 2)
    put_digits(out, at + 8, doy - (153 * mp + 2) // 5 + 1, 2)
    out[at + 10] = 84
    put_digits(out, at + 11, rest // 3600, 2)
    put_digits(out, at + 14, rest // 60 % 60, 2)
    put_digits(out, at + 17, rest % 60, 2)
    out[at + 13] = out[at + 16] = 58
    out[at + 19] = 46
    fraction = us % 1_000_000
    put_digits(out, at + 20, fraction if digits == 6 else fraction // 1000, digits)
    out[at + 20 + digits] = 90


@njit
def render(kind: int, values: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Rows of text: TIDs, CIDs (without their first seven characters), times."""
    out = np.empty(len(values) * width, np.uint8)
    for i in range(len(values)):
        if kind == TID:
            put_tid(out, i * width, values[i])
        elif kind == CID:
            put_cid(out, i * width, np.uint64(values[i]))
        elif kind == ISO_MS:
            put_time(out, i * width, values[i], 3)
        else:
            put_time(out, i * width, values[i], 6)
    return out
