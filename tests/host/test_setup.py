"""Somebody at a terminal answers the questions, stops half-way, and goes on; what was in the file stays."""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from feedgen.core.config import read_settings
from feedgen.core.settings import Settings
from feedgen.host.settings_file import with_value
from feedgen.host.setup import did_of, where_leads
from tests.host.small_pds import DID, HANDLE, SmallPds
from tests.host.terminal import Terminal

VPS = "100.64.0.2"
STATUS: dict[str, Any] = {
    "BackendState": "Running",
    "Self": {"HostName": "home", "TailscaleIPs": ["100.64.0.7"]},
    "Peer": {"nodekey:01": {"HostName": "vps", "DNSName": "vps.tail1.ts.net.", "Online": True, "TailscaleIPs": [VPS]}},
}


def put_tailscale(folder: Path, status: dict[str, Any]) -> dict[str, str]:
    """A `tailscale` on PATH that says this."""
    program = folder / "bin" / "tailscale"
    program.parent.mkdir(exist_ok=True)
    pong = "pong from vps (100.64.0.2) via 203.0.113.9:41641 in 12ms"
    lines = ["#!/bin/bash", f"[ $1 = ping ] && echo {shlex.quote(pong)} || echo {shlex.quote(json.dumps(status))}", ""]
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_an_evening_with_an_interruption(tmp_path: Path) -> None:
    path = tmp_path / "feedgen.toml"
    data = tmp_path / "data"
    with SmallPds() as pds:
        before = f'# mine\n[publish]\npds = "{pds.url}"  # my own\n\n[store]\ndir = "{data}"\n'
        path.write_text(before)
        env = put_tailscale(tmp_path, STATUS)
        with Terminal(tmp_path, "setup", env=env) as first:
            first.answer("Public DNS name", "https://feed.example.com/")
            first.answer("Should be", "localhost")
            first.answer("Should be", "Feed.Example.invalid")
            first.answer("Handle", "@nobody")
            first.answer("Should be", f"@{HANDLE}")
            first.answer("Days", "ninety")
            assert first.ended_by_interrupt() == 1
            assert f"It is {DID}" in first.said and "leads nowhere yet" in first.said
        half = tomllib.loads(path.read_text())
        assert half["service"] == {"hostname": "feed.example.invalid", "publisher_did": DID}
        with Terminal(tmp_path, "setup", env=env) as second:
            for question in ("[feed.example.invalid]:", f"[{HANDLE}]:"):
                second.answer(question, "")
            second.answer("Days", "3")
            second.answer("[100.64.0.7:8090]:", "")
            second.answer("[vps]:", "")
            assert second.ended() == 0, second.said
            assert "answers in 12 ms, directly" in second.said and "feedgen publish --config" in second.said
    settings = read_settings(Settings, path, env={}).get()
    assert settings.service.hostname == "feed.example.invalid" and settings.service.publisher_did == DID
    assert (settings.service.bind, settings.service.private_bind) == ("100.64.0.7:8090", "127.0.0.1:8091")
    assert (settings.tunnel.kind, settings.tunnel.vps, settings.store.retention_days) == ("tailscale", "vps", 3)
    assert settings.service.trusted_proxies == (VPS,)
    text = path.read_text()
    assert text.startswith("# mine\n") and "# my own" in text and settings.store.dir == str(data)


def test_a_tunnel_that_is_down_and_a_pds_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "feedgen.toml").write_text('[publish]\npds = "http://127.0.0.1:9"\n')
    env = put_tailscale(tmp_path, {"BackendState": "Stopped"})
    with Terminal(tmp_path, "setup", env=env) as terminal:
        terminal.answer("Public DNS name", "localhost.invalid")
        terminal.answer("Handle", HANDLE)
        terminal.answer("Days", "")
        terminal.answer("until then [127.0.0.1:8090]:", "")
        assert terminal.ended() == 0, terminal.said
    assert "Tailscale is stopped." in terminal.said and "`feedgen whoami` tells its DID" in terminal.said
    assert "publisher_did" not in (tmp_path / "feedgen.toml").read_text()


def test_a_file_that_is_wrong_is_said_first(tmp_path: Path) -> None:
    (tmp_path / "feedgen.toml").write_text("[stor]\n")
    with Terminal(tmp_path, "setup") as terminal:
        assert terminal.ended() == 2
    assert "[stor]" in terminal.said


def test_handles_are_asked_of_the_pds() -> None:
    with SmallPds() as pds:
        assert did_of(HANDLE, pds.url) == DID
        assert did_of("nobody.example", pds.url) == ""
    assert did_of(HANDLE, "http://127.0.0.1:9") == ""


def test_where_a_name_leads() -> None:
    assert "nowhere" in where_leads("nowhere.invalid")
    assert "can't reach" in where_leads("localhost")
    assert "Is that the VPS?" in where_leads("9.9.9.9")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[a]\nb = "x"\n'),
        ("[a]\nc = 1\n\n[d]\ne = 2\n", '[a]\nc = 1\nb = "x"\n\n[d]\ne = 2\n'),
        ('[a]\nb = "y"  # why\nc = 1\n', '[a]\nb = "x"  # why\nc = 1\n'),
        ('[a]\r\nb = "y"\r\n', '[a]\r\nb = "x"\r\n'),
        ('[a]\nb = [\n"y",\n]\nc = 1\n', '[a]\nb = "x"\nc = 1\n'),
        ('[a]\nc = """\n[a]\nb = 1\n"""\n', '[a]\nc = """\n[a]\nb = 1\n"""\nb = "x"\n'),
        ('a.b = "y"\n', 'a.b = "x"\n'),
        ("[d]\nb = 5\n", '[d]\nb = 5\n\n[a]\nb = "x"\n'),
        ("[a] # here\n", '[a] # here\nb = "x"\n'),
    ],
)
def test_one_value_is_changed_and_nothing_else(before: str, after: str) -> None:
    assert with_value(before, "a", "b", "x") == after


def test_what_is_no_toml_is_left_alone() -> None:
    for text in ("[a", "a = 5\n"):
        with pytest.raises(ValueError):
            with_value(text, "a", "b", "x")
