"""Frames of a label stream (com.atproto.label.subscribeLabels) as typed values. Pure and total."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

from feedgen.core.cbor import CborError, Reader, Value
from feedgen.core.ids import POST_NSID, is_did, parse_at_uri

MAX_FRAME_BYTES: Final = 1 << 20
MAX_LABELS: Final = 5_000  # in one frame
MAX_VAL: Final = 128
MAX_SUBJECT: Final = 2_048
MAX_SEQ: Final = 1 << 62


class Label(NamedTuple):
    """`subject` is a DID or a post's at-uri. `until_s` is when it ends, 0: never."""

    source: str
    subject: str
    val: str
    negated: bool
    until_s: int


class LabelFrame(NamedTuple):
    seq: int
    labels: list[Label]
    ignored: int  # labels of other records, or that make no sense


class Told(NamedTuple):
    """What a labeler says beside labels: why it ends the stream (`error`), or that our cursor was too old."""

    name: str
    message: str
    error: bool


def decode(data: bytes) -> LabelFrame | Told | None:
    """None for what is no frame, or of a kind that is not known."""
    if len(data) > MAX_FRAME_BYTES:
        return None
    reader = Reader(data)
    try:
        header, body = reader.read(), reader.read()
    except CborError:
        return None
    if not reader.done or not isinstance(header, dict) or not isinstance(body, dict):
        return None
    if header.get("op") == -1:
        return Told(_text(body.get("error"), 64), _text(body.get("message"), 300), True)
    if header.get("op") != 1:
        return None
    if header.get("t") == "#info":
        return Told(_text(body.get("name"), 64), _text(body.get("message"), 300), False)
    return _labels(body) if header.get("t") == "#labels" else None


def _labels(body: dict[str, Value]) -> LabelFrame | None:
    seq, labels = body.get("seq"), body.get("labels")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq < MAX_SEQ:
        return None
    if not isinstance(labels, list) or len(labels) > MAX_LABELS:
        return None
    made = [label for label in map(_label, labels) if label is not None]
    return LabelFrame(seq, made, len(labels) - len(made))


def _label(given: Value) -> Label | None:
    if not isinstance(given, dict):
        return None
    source, subject, val, negated = given.get("src"), given.get("uri"), given.get("val"), given.get("neg", False)
    if not isinstance(source, str) or not isinstance(subject, str) or not isinstance(val, str):
        return None
    if not is_did(source) or not is_subject(subject) or not 0 < len(val.encode()) <= MAX_VAL:
        return None
    until_s = _seconds(given.get("exp"))
    if not isinstance(negated, bool) or until_s is None:
        return None
    return Label(source, subject, val, negated, until_s)


def is_subject(text: str) -> bool:
    """Whether it names an account or a post."""
    if len(text) > MAX_SUBJECT:
        return False
    if text.startswith("did:"):
        return is_did(text)
    parsed = parse_at_uri(text)
    return parsed is not None and parsed.collection == POST_NSID


def _seconds(text: Value) -> int | None:
    """0 for none at all, None for what is no time."""
    if text is None:
        return 0
    if not isinstance(text, str) or len(text) > 64:
        return None
    try:
        time = datetime.fromisoformat(text)
        return max(1, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()))
    except (ValueError, OverflowError, OSError):
        return None


def _text(value: Value, limit: int) -> str:
    return value[:limit] if isinstance(value, str) else ""
