"""The commands as somebody types them, against a PDS on a real socket."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedgen.core.errors import SettingsError
from feedgen.core.settings import Publish, Settings
from feedgen.host.publish import letters_in, looks
from tests.host.small_pds import DID, HANDLE, PASSWORD, SmallPds
from tests.host.terminal import Terminal

SERVICE = "did:web:feed.example.com"
PATIENCE_S = 120
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


@pytest.fixture
def pds() -> Iterator[SmallPds]:
    with SmallPds() as pds:
        yield pds


class Typed:
    """What a command said and how it ended."""

    def __init__(self, pds_url: str, folder: Path, *words: str, password: str = PASSWORD, **more: str) -> None:
        settings = {
            "service.hostname": "feed.example.com",
            "service.publisher_did": DID,
            "publish.pds": pds_url,
            "publish.handle": HANDLE,
        } | {name.replace("__", "."): value for name, value in more.items()}
        command = [sys.executable, "-m", "feedgen", *words]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        env = os.environ | ({"FEEDGEN_APP_PASSWORD": password} if password else {})
        done = subprocess.run(
            command, capture_output=True, text=True, env=env, cwd=folder, timeout=PATIENCE_S, stdin=subprocess.DEVNULL
        )
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert PASSWORD not in self.out + self.err and ("Traceback" not in self.err or "--debug" in words)


def test_published_updated_and_removed(pds: SmallPds, tmp_path: Path) -> None:
    dry = Typed(pds.url, tmp_path, "publish", "--dry-run", password="")
    assert dry.code == 0 and dry.out.count("would be created") == 3 and pds.records == {}
    first = Typed(pds.url, tmp_path, "publish")
    assert first.code == 0 and f"https://bsky.app/profile/{DID}/feed/for-you" in first.out
    assert set(pds.records) == {"for-you", "videos-for-you", "popular"}
    record = pds.records["videos-for-you"]
    assert record["did"] == SERVICE and record["$type"] == "app.bsky.feed.generator"
    assert record["contentMode"] == "app.bsky.feed.defs#contentModeVideo" and record["acceptsInteractions"] is True
    assert "contentMode" not in pds.records["popular"] and "avatar" not in record
    assert pds.asked[-1] == "com.atproto.server.deleteSession"

    # Again: nothing to do. With another name: that alone, and what others wrote stays.
    pds.records["for-you"]["labels"] = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "x"}]}
    created = pds.records["for-you"]["createdAt"]
    asked = len(pds.asked)
    again = Typed(pds.url, tmp_path, "publish")
    assert again.out.count("is as it should be") == 3
    assert not {"com.atproto.repo.putRecord", "com.atproto.repo.createRecord"} & set(pds.asked[asked:])
    (tmp_path / "face.png").write_bytes(PNG)
    named = Typed(pds.url, tmp_path, "publish", publish__names="for-you=Ours", publish__avatars="for-you=face.png")
    assert "for-you: updated (name, picture)" in named.out
    record = pds.records["for-you"]
    assert (record["displayName"], record["createdAt"]) == ("Ours", created)
    assert record["labels"]["values"][0]["val"] == "x"
    assert pds.blobs == {record["avatar"]["ref"]["$link"]: PNG}
    asked = len(pds.asked)
    Typed(pds.url, tmp_path, "publish", publish__names="for-you=Ours", publish__avatars="for-you=face.png")
    assert "com.atproto.repo.uploadBlob" not in pds.asked[asked:]

    assert "popular: removed" in Typed(pds.url, tmp_path, "unpublish", "popular").out
    assert set(pds.records) == {"for-you", "videos-for-you"}
    assert "would be removed" in Typed(pds.url, tmp_path, "unpublish", "--dry-run", password="").out
    rest = Typed(pds.url, tmp_path, "unpublish")
    assert rest.code == 0 and "popular: is not published" in rest.out and pds.records == {}


def test_a_key_that_another_service_has(pds: SmallPds, tmp_path: Path) -> None:
    theirs = {"$type": "app.bsky.feed.generator", "did": "did:web:other.example", "displayName": "Old"}
    theirs["createdAt"] = "2025-01-01T00:00:00.000Z"
    pds.records["popular"] = dict(theirs)
    refused = Typed(pds.url, tmp_path, "publish")
    assert refused.code == 1 and "did:web:other.example" in refused.err and "--replace" in refused.err
    assert pds.records == {"popular": theirs}  # the other two were not written either
    assert "it stays" in Typed(pds.url, tmp_path, "unpublish", "popular").out
    taken = Typed(pds.url, tmp_path, "publish", "--replace")
    assert taken.code == 0 and "popular: updated (service, name" in taken.out
    assert pds.records["popular"]["createdAt"] == theirs["createdAt"]


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("createSession", (401, {"error": "AccountTakedown", "message": "x"}), "taken down"),
        ("createSession", (429, {"error": "RateLimitExceeded", "message": "x"}), "too many tries"),
        ("createSession", (500, {"error": "InternalServerError", "message": "x"}), "refused"),
        ("createSession", (200, {"hello": "there"}), "no PDS's"),
    ],
)
def test_a_pds_that_refuses(
    pds: SmallPds, tmp_path: Path, method: str, answer: tuple[int, dict[str, str]], words: str
) -> None:
    pds.refuse[f"com.atproto.server.{method}"] = answer
    typed = Typed(pds.url, tmp_path, "publish")
    assert typed.code == 1 and words in typed.err


def test_a_record_that_changed_meanwhile(pds: SmallPds, tmp_path: Path) -> None:
    pds.refuse["com.atproto.repo.createRecord"] = (400, {"error": "InvalidSwap", "message": "x"})
    typed = Typed(pds.url, tmp_path, "publish")
    assert typed.code == 1 and "changed the record just now" in typed.err


def test_passwords(pds: SmallPds, tmp_path: Path) -> None:
    wrong = Typed(pds.url, tmp_path, "publish", password="wrong-wrong")
    assert wrong.code == 1 and "password is wrong" in wrong.err and "App passwords" in wrong.err
    assert "wrong-wrong" not in wrong.out + wrong.err
    assert "wrong-wrong" not in Typed(pds.url, tmp_path, "publish", "--debug", password="wrong-wrong").err
    nobody = Typed(pds.url, tmp_path, "publish", password="")
    assert nobody.code == 1 and "--password-file" in nobody.err
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o644)
    open_to_all = Typed(pds.url, tmp_path, "whoami", "--password-file", str(file), password="")
    assert open_to_all.code == 1 and "chmod 600" in open_to_all.err
    file.chmod(0o600)
    known = Typed(pds.url, tmp_path, "whoami", "--password-file", str(file), password="")
    assert known.code == 0 and DID in known.out and "main password" not in known.err
    missing = Typed(pds.url, tmp_path, "whoami", "--password-file", str(tmp_path / "none"), password="")
    assert missing.code == 1 and "No such file" in missing.err


def test_a_pds_that_is_away(tmp_path: Path) -> None:
    typed = Typed("http://127.0.0.1:9", tmp_path, "publish")
    assert typed.code == 1 and "can't be reached" in typed.err


def test_another_account_than_the_settings_name(pds: SmallPds, tmp_path: Path) -> None:
    other = Typed(pds.url, tmp_path, "publish", service__publisher_did="did:plc:someoneelseaaaaaaaaaaaaa")
    assert other.code == 2 and f'publisher_did = "{DID}"' in other.err and pds.records == {}
    asked = Typed(pds.url, tmp_path, "whoami", service__publisher_did="did:plc:someoneelseaaaaaaaaaaaaa")
    assert asked.code == 1 and f'publisher_did = "{DID}"' in asked.out
    nowhere = Typed(pds.url, tmp_path, "publish", service__hostname="localhost")
    assert nowhere.code == 2 and "nobody could reach" in nowhere.err


def test_a_code_is_asked_for(pds: SmallPds, tmp_path: Path) -> None:
    pds.code, pds.scope = "AB-12", "com.atproto.access"
    nobody = Typed(pds.url, tmp_path, "publish")
    assert nobody.code == 1 and "sent by mail" in nobody.err and "needs no code" in nobody.err
    given = [f"--set=publish.pds={pds.url}", f"--set=publish.handle={HANDLE}", f"--set=service.publisher_did={DID}"]
    for code, words, ends_with in (("AB-12", "main password", 0), ("00-00", "not accepted", 1)):
        with Terminal(tmp_path, "whoami", *given) as terminal:
            terminal.answer("App password:", PASSWORD)
            terminal.answer("by mail:", code)
            assert terminal.ended() == ends_with
            assert words in terminal.said and PASSWORD not in terminal.said


# --- what Bluesky would refuse


@pytest.mark.parametrize(
    ("publish", "words"),
    [
        ({"names": ("for-you=" + "a" * 25,)}, "too long: 25 letters"),
        ({"names": ("for-you=" + "👩‍👩‍👧‍👦" * 10,)}, "too long: 10 letters"),  # 250 bytes
        ({"descriptions": ("popular=" + "b" * 301,)}, "too long: 301"),
        ({"feeds": ("for-yuo",)}, 'no feed "for-yuo"'),
        ({"avatars": ("for-you=/nowhere/x.png",)}, "No such file"),
    ],
)
def test_what_would_be_refused_is_said_before_anything_is_sent(publish: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        looks(Settings(publish=Publish(**publish)))


def test_pictures(tmp_path: Path) -> None:
    path = tmp_path / "face"
    settings = Settings(publish=Publish(avatars=(f"for-you={path}",)))
    path.write_bytes(b"GIF89a")
    with pytest.raises(SettingsError, match="neither PNG nor JPEG"):
        looks(settings)
    path.write_bytes(PNG + b"\0" * 1_000_000)
    with pytest.raises(SettingsError, match="1000108 bytes"):
        looks(settings)
    path.write_bytes(b"\xff\xd8\xff\xe0")
    assert looks(settings)[0].picture_kind == "image/jpeg"


@pytest.mark.parametrize(
    ("text", "letters"),
    [("Für dich", 8), ("Fu\u0308r", 3), ("👩‍👩‍👧‍👦", 1), ("👍🏽", 1), ("🇩🇪🇫🇷", 2), ("각", 1), ("", 0), ("❤️", 1)],
)
def test_letters_are_counted_as_people_do(text: str, letters: int) -> None:
    assert letters_in(text) == letters
