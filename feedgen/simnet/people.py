"""The people: what they like, how much they do, what they speak, who they follow at the start, and their keys.

A person's columns are drawn once from the seed. Names, texts and keys are pure functions of (seed, index), made when
asked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from feedgen.simnet import text, words

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

STYLES: Final = 8  # dimensions of taste that no topic explains
WEB_SHARE: Final = 0.002  # people with a did:web
P256_SHARE: Final = 0.15  # the others have secp256k1 keys
ADULT_SHARE: Final = 0.015  # authors who label their posts
PRIVATE_SHARE: Final = 0.06  # !no-unauthenticated on their profile
FOLLOWS_MEDIAN: Final = 35
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_K256_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True, slots=True)
class Person:
    """One of the people, as others may see them now."""

    index: int
    did: str
    handle: str
    display_name: str
    description: str
    avatar_cid: str
    languages: tuple[str, ...]
    interests: tuple[str, ...]  # strongest first
    adult: bool
    no_unauthenticated: bool


class People:
    """Columns of n people. Nothing here changes after the start."""

    def __init__(self, seed: int, n: int) -> None:
        rng = np.random.Generator(np.random.Philox(key=[seed & (1 << 64) - 1, 0xBEEF]))
        self.seed, self.n = seed, n
        topics = len(words.TOPICS)
        self.language: NDArray[np.int8] = rng.choice(len(words.LANGUAGES), n, p=words.LANGUAGE_SHARES).astype(np.int8)
        second = rng.choice(len(words.LANGUAGES), n, p=words.LANGUAGE_SHARES).astype(np.int8)
        second[self.language != 0] = 0  # who speaks something else often reads English too
        self.second: NDArray[np.int8] = np.where(rng.random(n) < 0.35, second, self.language)
        self.taste = self._tastes(rng, topics)
        self.style = (rng.standard_normal((n, STYLES)) / np.sqrt(STYLES)).astype(np.float32)
        self.visual = (rng.standard_normal(n) * 0.5).astype(np.float32)  # pictures over text
        self.activity = _heavy(rng, n, 1.25)  # how much they read and like
        self.posting = _heavy(rng, n, 1.5) * np.sqrt(self.activity)
        self.fame = _heavy(rng, n, 1.4)  # how likely others are to follow them
        self.reposting = np.clip(rng.gamma(1.2, 0.121, n), 0, 0.8)
        self.replying = np.clip(rng.beta(1.5, 3.5, n), 0, 0.9)
        self.media = rng.dirichlet((5.0, 2.5, 0.7, 1.2), n)  # text, images, video, link
        self.adult: Bools = rng.random(n) < ADULT_SHARE
        self.private: Bools = rng.random(n) < PRIVATE_SHARE
        self.skill = (rng.standard_normal(n) * 0.6).astype(np.float32)  # of an author
        self.dids = [self._did(i) for i in range(n)]
        self.by_did = {did: i for i, did in enumerate(self.dids)}

    def _tastes(self, rng: np.random.Generator, topics: int) -> F32:
        """Two to five interests each, the first the strongest; a faint liking for a few others."""
        order = rng.random((self.n, topics)).argsort(axis=1)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(topics)[None, :], axis=1)
        count = rng.integers(2, 6, self.n)
        strength = np.where(rank < count[:, None], 1.0 - 0.14 * rank, 0.12 * rng.random((self.n, topics)))
        return strength.astype(np.float32)

    def _did(self, i: int) -> str:
        if self.is_web(i):
            return f"did:web:{_label(self.seed, i)}.simnet.test"
        return text.plc(self.seed, i)

    def is_web(self, i: int) -> bool:
        return text.mix1(i, self.seed * 31 + 5) % 100_000 < WEB_SHARE * 100_000

    def handle(self, i: int, version: int = 0) -> str:
        return f"{_label(self.seed, i)}{f'-{version}' if version else ''}.simnet.test"

    def interests(self, i: int) -> list[int]:
        taste = self.taste[i]
        return [int(k) for k in np.argsort(-taste) if taste[k] > 0.2]

    def display_name(self, i: int, version: int = 0) -> str:
        h = text.mix1(i, self.seed * 31 + 7 + version * 131)
        names = words.NAMES[int(self.language[i])]
        name = names[h % len(names)]
        if self.language[i] == 0:
            name = f"{name} {words.ANIMALS[(h >> 12) % len(words.ANIMALS)]}"
            name = name.title() if h & 0x100_0000 else name
        return name + words.DECORATION[(h >> 30) % len(words.DECORATION)]

    def description(self, i: int, version: int = 0) -> str:
        language = int(self.language[i])
        parts = [f"{words.TOPICS[k][2][language]} {words.TOPICS[k][1]}" for k in self.interests(i)[:3]]
        h = text.mix1(i, self.seed * 31 + 11 + version * 131)
        closers = words.CLOSERS[language]
        return " · ".join(parts) + f"\n{closers[h % len(closers)]}"

    def avatar_cid(self, i: int, version: int = 0) -> str:
        """Empty for one in twelve: not everybody has a picture."""
        h = text.mix1(i, self.seed * 31 + 13 + version * 131)
        return "" if h % 12 == 0 else text.cids(np.array([h], np.uint64), "bafkrei")[0]

    def languages(self, i: int) -> tuple[str, ...]:
        first, second = int(self.language[i]), int(self.second[i])
        return (words.LANGUAGES[first],) if first == second else (words.LANGUAGES[first], words.LANGUAGES[second])

    def signing_key(self, i: int) -> ec.EllipticCurvePrivateKey:
        return signing_key(self.seed, i)

    def first_follows(self, rng: np.random.Generator) -> I64:
        """The follow graph before the first event: sorted `follower << 32 | followed`, mostly people of like taste
        and tongue."""
        most = max(3, self.n // 3)
        counts = np.clip(np.exp(rng.normal(np.log(FOLLOWS_MEDIAN), 0.9, self.n)), 3, most).astype(np.int64)
        who = np.repeat(np.arange(self.n), counts)
        pairs = who << 32 | self.pick_authors(rng, who)
        return np.unique(pairs[(pairs >> 32) != (pairs & 0xFFFF_FFFF)])

    def pick_authors(self, rng: np.random.Generator, who: I64) -> I64:
        """For each of `who`, somebody they might follow."""
        topics = len(words.TOPICS)
        # Interests in proportion to their strength: inverse transform over each person's row.
        sums = np.cumsum(self.taste[who] ** 2, axis=1)
        topic = np.minimum((rng.random(len(who))[:, None] * sums[:, -1:] > sums).sum(axis=1), topics - 1)
        kind = rng.random(len(who))
        cell = np.where(
            kind < 0.62,
            self.language[who].astype(np.int64) * topics + topic,
            np.where(kind < 0.85, topic, self.language[who].astype(np.int64)),
        )
        table = np.where(kind < 0.62, 0, np.where(kind < 0.85, 1, 2))
        picked = np.empty(len(who), np.int64)
        for t, (order, starts, sums_by_cell) in enumerate(self._author_tables()):
            rows = np.flatnonzero(table == t)
            first, last = starts[cell[rows]], starts[cell[rows] + 1]
            base, top = sums_by_cell[first], sums_by_cell[last]
            at = np.searchsorted(sums_by_cell, base + rng.random(len(rows)) * (top - base), side="right") - 1
            # A cell may be empty: then anybody, by fame.
            empty = last <= first
            at[empty] = np.searchsorted(sums_by_cell, rng.random(int(empty.sum())) * sums_by_cell[-1], side="right") - 1
            picked[rows] = order[np.clip(at, 0, len(order) - 1)]
        return picked

    def _author_tables(self) -> list[tuple[I64, I64, NDArray[np.float64]]]:
        """People sorted by (language, main topic), by topic, by language; each with cell starts and running sums of
        fame."""
        if not hasattr(self, "_tables"):
            topics, languages = len(words.TOPICS), len(words.LANGUAGES)
            main = self.taste.argmax(axis=1)
            language = self.language.astype(np.int64)
            self._tables = []
            for cells, count in ((language * topics + main, topics * languages), (main, topics), (language, languages)):
                order = np.argsort(cells, kind="stable")
                starts = np.searchsorted(cells[order], np.arange(count + 1))
                sums = np.concatenate(([0.0], np.cumsum(self.fame[order])))
                self._tables.append((order, starts, sums))
        return self._tables


def _heavy(rng: np.random.Generator, n: int, sigma: float) -> NDArray[np.float64]:
    """Log-normal shares that sum to 1: a few do most of it, and nobody does everything."""
    values = np.exp(np.clip(rng.standard_normal(n), -3.5, 3.5) * sigma)
    shares: NDArray[np.float64] = values / values.sum()
    return shares


def _label(seed: int, i: int) -> str:
    h = text.mix1(i, seed * 31 + 3)
    return f"{words.ADJECTIVES[h % len(words.ADJECTIVES)]}-{words.ANIMALS[(h >> 20) % len(words.ANIMALS)]}-{i}"


@lru_cache(maxsize=4096)
def signing_key(seed: int, i: int) -> ec.EllipticCurvePrivateKey:
    secret = int.from_bytes(hashlib.sha512(f"key:{seed}:{i}".encode()).digest(), "big")
    if text.mix1(i, seed * 31 + 17) % 1000 < P256_SHARE * 1000:
        return ec.derive_private_key(secret % (_P256_ORDER - 1) + 1, ec.SECP256R1())
    return ec.derive_private_key(secret % (_K256_ORDER - 1) + 1, ec.SECP256K1())
