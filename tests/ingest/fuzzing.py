"""A seeded fuzzer for decoding: valid frames, spoilt in every way that we could think of.

The same seed gives the same frames, so what `scripts/bench fuzz` finds with larger counts can be looked at again.
"""

from __future__ import annotations

import copy
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from feedgen.core.ids import LIKE, REPOST, is_did, is_rkey, parse_at_uri
from feedgen.ingest import events as e
from feedgen.ingest.events import REASONS, Dropped, Event, StreamError, StreamInfo, decode
from tests.ingest import wires
from tests.ingest.wires import CID, WIRES, commit, dump, ref

# What a field may hold instead of what it should. Strings of JSON that Python's own `json` would not write are bytes.
ZOO: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**15, 10**40, 1.5, -0.0, 1e308, 1e-308,
    "", " ", "0", "1", "true", "null", "\0", "a\0b", "\n", "\u202e", "\U0001f600", "é" * 50, "x" * 5_000, "9" * 5_000,
    "did:plc:", "did:web:example.com", "did:x:" + "y" * 3_000, "at://", "at://a/b/c", "2026-13-45T99:99:99.999999Z",
    "2026-09-21T14:13:20.٣٣٣٣٣٣Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "!hide",
    "app.bsky.feed.post", "app.bsky.actor.profile", "create", "delete", "commit", "identity", "account", "sync", "self",
    [], [[]], [None], ["en"], [1], [{}], {}, {"": ""}, {"uri": 5}, {"uri": None}, {"uri": "x"},
    {"values": [{"val": 1}]},
    {"values": [{"val": "porn"}] * 200}, {"root": 5}, {"root": {"uri": "\0"}}, {"$type": []}, {"$link": CID},
    {"$type": "app.bsky.embed.record", "record": 5},
    {"$type": "app.bsky.embed.recordWithMedia", "record": {"record": 5}},
    b'"\\ud800"', b'"\\udc00\\ud800"', b"NaN", b"Infinity", b"1e999", b"-1e999", b"1" * 4_000, b"1" * 5_000,
    b"0" * 50, b'"\xff\xfe"', b'"\xed\xa0\x80"', b"'x'", b"undefined", b"[" * 2_000, b"[" * 500 + b"]" * 500,
    b'{"a":' * 1_500 + b"1" + b"}" * 1_500, b'{"uri":"x","uri":5}', b'"' + b"\\u0000" * 1_000 + b'"',
    b"", b",", b"/*x*/1",
)  # fmt: skip
_MARK: Final = "\u0001here\u0001"
_MARK_BYTES: Final = b'"\\u0001here\\u0001"'
SLOW_S: Final = 0.5


@dataclass
class Report:
    frames: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


def templates() -> list[dict[str, Any]]:
    """One valid frame of everything, on each wire."""
    frames: list[dict[str, Any]] = []
    labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "porn"}]}
    media = {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": {"ref": {"$link": CID}, "size": 1}}]}
    both = {"$type": "app.bsky.embed.recordWithMedia", "media": media, "record": {"record": ref()}}
    quote = {"$type": "app.bsky.embed.record", "record": ref()}
    visibility = "app.bsky.actor.contentVisibilityDeclaration"
    for wire in WIRES:
        frames += [
            commit(wire, record=wires.like(via=ref())),
            commit(wire, "app.bsky.feed.repost", wires.like()),
            commit(
                wire, "app.bsky.feed.post", wires.post(reply={"root": ref(), "parent": ref()}, langs=["en", "pt-BR"])
            ),
            commit(wire, "app.bsky.feed.post", wires.post(embed=both, labels=labels)),
            commit(wire, "app.bsky.feed.post", wires.post(embed=quote), operation="update"),
            commit(wire, "app.bsky.graph.follow", {"subject": wires.AUTHOR}),
            commit(wire, "app.bsky.graph.block", {"subject": wires.AUTHOR}),
            commit(wire, "app.bsky.actor.profile", {"labels": labels, "displayName": "x"}, rkey="self"),
            commit(wire, visibility, {"hideFromAlgorithmicRecommendations": True}, rkey="self"),
            commit(wire, "app.bsky.feed.like", operation="delete"),
            commit(wire, "app.bsky.actor.profile", operation="delete", rkey="self"),
            wires.identity(wire),
            wires.account(wire),
        ]
    frames.append({"$type": "error", "error": "ConsumerTooSlow", "message": "slow"})
    frames.append(wires.v2("info", name="OutdatedCursor", message="clamped"))
    for kind in ("sync", "anything"):
        frames.append(wires.v2(kind, seq=1, did=wires.DID, time=wires.iso(wires.NOW_US), sync={"blocks": ""}))
    return frames


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something could be replaced: every key and every item, at any depth, and the whole."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*at, key))


def replaced(frame: Any, at: tuple[Any, ...], value: Any) -> bytes:
    """The frame's bytes with another value in that place."""
    raw = isinstance(value, bytes)
    fill = _MARK if raw else value
    if not at:
        return value if raw else dump(value)
    changed = copy.deepcopy(frame)
    _parent(changed, at)[at[-1]] = fill
    text = dump(changed)
    return text.replace(_MARK_BYTES, value) if raw else text


def without(frame: Any, at: tuple[Any, ...]) -> bytes:
    changed = copy.deepcopy(frame)
    del _parent(changed, at)[at[-1]]
    return dump(changed)


def every_field_by_every_value() -> Iterator[bytes]:
    """Each field of each template replaced in turn by each of the zoo, and each missing."""
    for frame in templates():
        for at in paths(frame):
            for value in ZOO:
                yield replaced(frame, at, value)
            if at:
                yield without(frame, at)


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """`count` frames spoilt at random: bytes flipped, cut, doubled, spliced, nested; several fields replaced."""
    rng = random.Random(seed)
    sound = templates()
    texts = [dump(frame) for frame in sound]
    for _ in range(count):
        i = rng.randrange(len(sound))
        kind = rng.randrange(7)
        if kind < 2:
            yield _fields(rng, sound[i])
        elif kind == 2:
            yield texts[i][: rng.randrange(len(texts[i]))]
        elif kind == 3:
            yield _bytes(rng, texts[i])
        elif kind == 4:
            other = texts[rng.randrange(len(texts))]
            yield texts[i][: rng.randrange(len(texts[i]))] + other[rng.randrange(len(other)) :]
        elif kind == 5:
            start = rng.randrange(len(texts[i]))
            piece = texts[i][start : start + rng.randrange(1, 60)]
            yield texts[i][:start] + piece * rng.randrange(2, 40) + texts[i][start:]
        else:
            depth = rng.choice((10, 100, 1_000, 5_000))
            yield replaced(sound[i], rng.choice(list(paths(sound[i]))), b'{"record":' * depth + b"1" + b"}" * depth)


def check(frame: bytes, report: Report) -> None:
    """Decode, and judge what came out: never an exception, never an event that nobody could use."""
    start_s = time.thread_time()
    out = decode(frame)
    spent_s = time.thread_time() - start_s
    report.frames += 1
    report.slowest_s = max(report.slowest_s, spent_s)
    assert spent_s < SLOW_S, f"{spent_s:.1f} s for {frame[:200]!r}"
    if isinstance(out, Dropped):
        assert out.reason in REASONS
        report.outcomes[out.reason] += 1
        return
    report.outcomes[type(out).__name__] += 1
    if isinstance(out, StreamError | StreamInfo):
        assert len(out.name) <= 64
        assert len(out.message) <= 500
        return
    _check_event(out)


def _check_event(out: Event) -> None:
    assert is_did(out.did)
    assert e.MIN_TIME_US <= out.time_us < e.MAX_TIME_US
    assert 0 <= out.seq < e.MAX_SEQ
    rkey = getattr(out, "rkey", None)
    assert rkey is None or is_rkey(rkey)
    if isinstance(out, e.Rating):
        assert out.kind in (LIKE, REPOST)
        assert _is_post(out.subject)
    elif isinstance(out, e.Post):
        assert 0 < out.flags < 1 << 16
        assert 0 <= out.language < 256
        assert out.about is None or _is_post(out.about)
        assert 0 <= out.created_us <= out.time_us + e.FUTURE_US
    elif isinstance(out, e.Follow | e.Block):
        assert is_did(out.subject)
    elif isinstance(out, e.Profile):
        assert 0 <= out.flags < 256
    elif isinstance(out, e.Delete):
        assert out.collection in e.COLLECTIONS
    elif isinstance(out, e.Identity):
        assert out.handle is None or (len(out.handle) <= 253 and out.handle.isascii())
    elif isinstance(out, e.Account):
        assert out.active in (True, False)
        assert out.status is None or len(out.status) <= e.MAX_STATUS


def _is_post(uri: str) -> bool:
    parsed = parse_at_uri(uri)
    return parsed is not None and parsed.collection == "app.bsky.feed.post"


def _parent(value: Any, at: tuple[Any, ...]) -> Any:
    for key in at[:-1]:
        value = value[key]
    return value


def _fields(rng: random.Random, frame: Any) -> bytes:
    """Up to three fields replaced at once."""
    changed = copy.deepcopy(frame)
    for _ in range(rng.randrange(1, 4)):
        at = rng.choice(list(paths(changed)))
        if not at:
            continue
        value = rng.choice(ZOO)
        _parent(changed, at)[at[-1]] = rng.choice(("", 5)) if isinstance(value, bytes) else copy.deepcopy(value)
    return dump(changed)


def _bytes(rng: random.Random, text: bytes) -> bytes:
    changed = bytearray(text)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice((rng.randrange(256), 0, 34, 92, 123, 125, 91, 93, changed[at] ^ 1 << rng.randrange(8)))
    return bytes(changed)
