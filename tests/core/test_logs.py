import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedgen.core import logs

DIDS = [
    "did:plc:abcdefghijklmnopqrstuvwx",
    "did:web:alice.example",
    "did:web:localhost%3A80",
    "did%3Aplc%3Aabcdefghijklmnop",
]

log = logging.getLogger("feedgen.part")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("feedgen")
    before = root.handlers[:], root.level, ours.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])
    root.setLevel(before[1])


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def rows(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(stream)]


def test_json_when_nobody_looks() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    log.info("listening", extra={"bind": "127.0.0.1:8090", "tries": 2, "late": None, "rate": 1.5, "level": "mine"})
    (row,) = rows(stream)
    assert row["event"] == "listening"
    assert row["logger"] == "feedgen.part"
    assert row["level"] == "info" and row["level_"] == "mine"
    assert (row["bind"], row["tries"], row["late"], row["rate"]) == ("127.0.0.1:8090", 2, None, 1.5)
    assert row["time"].endswith("Z")


def test_text_on_a_terminal() -> None:
    stream = Terminal()
    logs.setup(stream=stream)
    log.info("listening", extra={"bind": "127.0.0.1:8090", "why": "two words"})
    log.warning("slow")
    first, second = lines(stream)
    assert first.endswith('info    part: listening bind=127.0.0.1:8090 why="two words"')
    assert second.startswith("\033[33m") and second.endswith("slow\033[0m")


@pytest.mark.parametrize(("format", "stream"), [("text", io.StringIO()), ("json", Terminal())])
def test_the_setting_decides(format: str, stream: io.StringIO) -> None:
    logs.setup(format=format, stream=stream)
    log.info("x")
    assert lines(stream)[0].startswith("{") == (format == "json")
    assert "\033" not in lines(stream)[0]


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("did", DIDS)
def test_no_did_gets_into_the_log(format: str, did: str) -> None:
    stream = io.StringIO()
    logs.setup(format=format, stream=stream)
    log.info(f"hello {did}", extra={"who": did, "uri": f"at://{did}/app.bsky.feed.post/x", "all": [did]})
    log.warning("hello %s", did)
    logging.getLogger("httpx").warning("GET https://plc.directory/%s", did)
    try:
        raise ValueError(f"bad {did}")
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    assert text.count(logs.NO_DID) >= 6
    assert "abcdef" not in text and "alice" not in text and "localhost" not in text


@given(st.text(max_size=30), st.sampled_from(DIDS), st.text(max_size=30))
@example("", DIDS[0], "")
def test_no_text_around_it_hides_a_did(before: str, did: str, after: str) -> None:
    stream = io.StringIO()
    logs.setup(format="json", stream=stream)
    log.info("%s", f"{before} {did} {after}")
    assert did not in stream.getvalue()


def test_debug_names_people() -> None:
    stream = io.StringIO()
    logs.setup("debug", stream=stream)
    log.debug("asked", extra={"who": DIDS[0]})
    assert rows(stream)[0]["who"] == DIDS[0]


def test_words_that_only_look_like_a_did_stay() -> None:
    assert logs.without_dids("what did: nothing, did I") == "what did: nothing, did I"


@pytest.mark.parametrize("format", ["text", "json"])
def test_one_line_an_event(format: str) -> None:
    stream = io.StringIO()
    logs.setup(format=format, stream=stream)
    log.info("a\nb\r\n\033[31mc\u2028d", extra={"field": "e\nf", "g": "\x9b1m"})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\033" not in stream.getvalue() and "\x9b" not in stream.getvalue()


def test_a_traceback_is_one_field_in_json_and_follows_in_text() -> None:
    for format in ("json", "text"):
        stream = io.StringIO()
        logs.setup(format=format, stream=stream)
        try:
            raise RuntimeError("why")
        except RuntimeError:
            log.exception("failed")
        if format == "json":
            assert "RuntimeError: why" in rows(stream)[0]["traceback"]
        else:
            assert lines(stream)[-1] == "    RuntimeError: why"


def test_libraries_are_quiet_and_levels_count() -> None:
    stream = io.StringIO()
    logs.setup("error", stream=stream)
    logging.getLogger("httpx").info("request")
    logging.getLogger("httpx").warning("slow")
    log.warning("no")
    log.error("yes")
    assert [row["event"] for row in rows(stream)] == ["yes"]
    logs.setup("debug", stream=stream)
    logging.getLogger("numba").debug("byteflow")
    assert len(rows(stream)) == 1


def test_setting_up_twice_does_not_speak_twice() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    logs.setup(stream=stream)
    log.info("once")
    assert len(lines(stream)) == 1


def test_warnings_are_lines_too() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.setup(stream=stream)
        warnings.warn("old", stacklevel=1)
    assert "old" in rows(stream)[0]["event"]


def test_huge_values_are_cut() -> None:
    for format in ("json", "text"):
        stream = io.StringIO()
        logs.setup(format=format, stream=stream)
        log.info("x" * 10**6, extra={"field": "y" * 10**6})
        assert len(stream.getvalue()) < 3 * logs.MAX_LINE_CHARS


def test_a_value_that_json_lacks_is_text() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream)
    log.info("x", extra={"path": sys, "set": {1}, "rate": float("nan")})
    assert rows(stream)[0]["set"] == "{1}"
    assert rows(stream)[0]["rate"] == "nan"
