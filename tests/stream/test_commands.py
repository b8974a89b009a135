"""`feedgen stream`: tokens, and how messages are printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from feedgen.cli import cli
from feedgen.core.settings import load_settings
from feedgen.stream.tail import line
from feedgen.stream.tokens import Tokens


def test_a_token_is_written_as_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "feedgen.toml"
    path.write_text('[stream]\nbind = "127.0.0.1:0"\n')
    for name in ("app", "bot"):
        done = CliRunner().invoke(cli, ["stream", "token", "add", name, "--rate", "500"])
        assert done.exit_code == 0, done.output
    token = done.stdout.strip()
    assert token not in path.read_text()
    settings = load_settings(path)
    holder = Tokens(settings.stream.tokens).holder(token)
    assert holder is not None
    assert (holder.name, holder.rate) == ("bot", 500)
    assert Tokens(settings.stream.tokens).holder(token + "x") is None
    again = CliRunner().invoke(cli, ["stream", "token", "add", "bot"])
    assert again.exit_code == 1
    assert "already" in again.output


def test_without_a_stream_tail_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["stream", "tail"])
    assert done.exit_code == 1
    assert "[stream] bind" in done.output


def test_a_line_has_author_text_and_what_was_joined() -> None:
    commit = {"operation": "create", "collection": "app.bsky.feed.post", "record": {"text": "a\x1b[2Jb\nc"}}
    event = {"did": "did:plc:a", "kind": "commit", "commit": commit}
    parent = {"author": {"handle": "b.test"}, "record": {"text": "before"}}
    message = {"event": event, "uri": "at://x", "author": {"handle": "a.test"}, "parent": parent, "missing": ["root"]}
    said = line(message)
    for part in ("a.test", "a [2Jb c", "parent @b.test: before", "without root"):
        assert part in said
    assert "\x1b[2J" not in said
