"""The key: where it is found, and where it is never sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from feedgen.archive.api import Api, ArchiveRefused
from feedgen.archive.key import KeyTrouble, find_key, may_send
from feedgen.simnet.faults import Faults
from feedgen.simnet.httpd import HttpServer, Request, Response


def test_it_is_a_setting_or_in_a_file_or_a_credential(tmp_path: Path) -> None:
    file, credential = tmp_path / "key", tmp_path / "archive_key"
    file.write_text("from-file\n")
    file.chmod(0o600)
    credential.write_text("from-credential\n")
    there = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_key("given", str(file), there) == "given"
    assert find_key("", str(file), there) == "from-file"
    assert find_key("", "", there) == "from-credential"
    assert find_key("", "", {}) == ""


@pytest.mark.parametrize("text", ["", "two\nlines", "caf\xe9", "a b", "x" * 5_000])
def test_what_is_no_key_is_said_without_showing_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(KeyTrouble) as trouble:
        find_key("", str(file), {})
    assert not text.strip() or text.strip() not in str(trouble.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("secret")
    file.chmod(0o644)
    with pytest.raises(KeyTrouble, match="chmod 600"):
        find_key("", str(file), {})
    with pytest.raises(KeyTrouble, match="archive_key_file"):
        find_key("", str(tmp_path / "absent"), {})


def test_it_is_sent_encrypted_or_to_this_machine_only() -> None:
    assert may_send("https://jetstream.example")
    assert may_send("http://127.0.0.1:80") and may_send("http://[::1]:80") and may_send("http://localhost")
    for url in ("http://jetstream.example", "http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example"):
        assert not may_send(url)
    with pytest.raises(KeyTrouble, match="not encrypted"):
        Api("ws://jetstream.example", "secret")
    Api("ws://jetstream.example", "").close()  # a server of one's own may want none


async def test_no_redirect_is_followed_with_it() -> None:
    asked: list[Request] = []

    async def elsewhere(request: Request) -> Response:
        asked.append(request)
        return Response(b"{}")

    async def redirect(request: Request) -> Response:
        asked.append(request)
        return Response(b"", 307, headers=(("location", f"{other.url}{request.path}"),))

    other, first = HttpServer("other", elsewhere, Faults()), HttpServer("first", redirect, Faults())
    await other.start()
    await first.start()
    try:
        api = Api(first.url, "secret")
        with pytest.raises(ArchiveRefused):
            await asyncio.to_thread(api.plan, 0)
        api.close()
    finally:
        await other.stop()
        await first.stop()
    assert [request.headers.get("authorization") for request in asked] == ["Bearer secret"]
