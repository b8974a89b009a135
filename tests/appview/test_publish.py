"""`feedgen publish` and what goes with it, against Bluesky's own PDS; what it wrote, asked of its AppView."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedgen.core.ids import FEED_NSID
from tests.appview.bluesky import PASSWORD, Account, Network, now
from tests.host.test_publish import Typed

pytestmark = [pytest.mark.appview, pytest.mark.needs("npm", "g++", "make", "setpriv")]


def png() -> bytes:
    """The smallest picture that is one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")
    )


class Publisher:
    """Somebody new at the PDS, and commands typed in their name."""

    def __init__(self, bluesky: Network, name: str, folder: Path) -> None:
        self.bluesky, self.account, self.folder = bluesky, bluesky.join(name), folder

    def types(self, *words: str, password: str = "", **more: str) -> Typed:
        given = {
            "service__did": self.bluesky.feed_did,
            "service__publisher_did": self.account.did,
            "publish__handle": f"{self.account.name}.test",
        } | more
        return Typed(self.bluesky.pds, self.folder, *words, password=password or self.app_password(), **given)

    def app_password(self) -> str:
        name = hashlib.sha256(str(now()).encode()).hexdigest()[:8]
        made = self.account.post("com.atproto.server.createAppPassword", {"name": name})
        return str(made["password"])

    def records(self) -> dict[str, Any]:
        query = {"repo": self.account.did, "collection": FEED_NSID}
        listed = self.bluesky.client.get(f"{self.bluesky.pds}/xrpc/com.atproto.repo.listRecords", params=query).json()
        return {one["uri"].rpartition("/")[2]: one["value"] for one in listed["records"]}

    def seen(self, rkey: str) -> dict[str, Any]:
        """As the AppView shows the feed."""
        self.bluesky.settle()
        query = {"feed": f"at://{self.account.did}/{FEED_NSID}/{rkey}"}
        url = f"{self.bluesky.appview}/xrpc/app.bsky.feed.getFeedGenerator"
        answer = self.bluesky.client.get(url, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["view"]
        return found


@pytest.fixture
def people(bluesky: Network, tmp_path: Path) -> Iterator[Any]:
    yield lambda name: Publisher(bluesky, name, tmp_path)


def test_published_changed_and_removed(people: Any) -> None:
    publisher = people("shopkeeper")
    first = publisher.types("publish")
    assert first.code == 0, first.err
    assert set(publisher.records()) == {"for-you", "videos-for-you", "popular"}
    view = publisher.seen("videos-for-you")
    assert (view["did"], view["displayName"]) == (publisher.bluesky.feed_did, "Videos For You")
    assert view["acceptsInteractions"] is True and view["contentMode"] == "app.bsky.feed.defs#contentModeVideo"
    (publisher.folder / "face.png").write_bytes(png())
    look = {"publish__names": "for-you=Ours", "publish__avatars": "for-you=face.png"}
    changed = publisher.types("publish", **look)
    assert "for-you: updated (name, picture)" in changed.out, changed.err
    view = publisher.seen("for-you")
    assert view["displayName"] == "Ours" and view["avatar"]
    assert publisher.types("publish", **look).out.count("is as it should be") == 3
    removed = publisher.types("unpublish")
    assert removed.code == 0 and removed.out.count("removed") == 3 and publisher.records() == {}


def test_who_logs_in(people: Any) -> None:
    publisher = people("wanderer")
    known = publisher.types("whoami")
    assert known.code == 0 and publisher.account.did in known.out and "main password" not in known.err
    known = publisher.types("whoami", password=PASSWORD)
    assert known.code == 0 and "main password" in known.err
    wrong = publisher.types("whoami", password="not it")
    assert wrong.code == 1 and "password is wrong" in wrong.err


def test_a_key_that_is_taken(people: Any) -> None:
    publisher = people("heir")
    account: Account = publisher.account
    theirs = {"$type": FEED_NSID, "did": "did:web:other.example", "displayName": "Old", **now()}
    account.put("popular", theirs)
    refused = publisher.types("publish")
    assert refused.code == 1 and "did:web:other.example" in refused.err
    assert list(publisher.records()) == ["popular"]
    assert publisher.types("publish", "--replace").code == 0
    assert publisher.records()["popular"]["did"] == publisher.bluesky.feed_did


def test_what_the_pds_itself_refuses(people: Any) -> None:
    """We count letters more kindly than the PDS, whose words then reach the operator."""
    publisher = people("counter")
    refused = publisher.types("publish", publish__names="for-you=" + "a\u1160" * 24)
    assert refused.code == 1 and "refused" in refused.err and "displayName" in refused.err
