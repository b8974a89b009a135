"""`feedgen publish`, `unpublish` and `whoami`: the records by which people find our feeds.

The service answers under its own name; what people search, pin and see a picture of is a record in the publisher's
repository, one a feed. Publishing makes these records say what the settings say, and touches nothing else.
"""

from __future__ import annotations

import hashlib
import unicodedata
from base64 import b32encode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from feedgen.core.errors import FeedgenError, SettingsError
from feedgen.core.ids import FEED_NSID
from feedgen.core.settings import Settings
from feedgen.feeds.files import find_feeds
from feedgen.feeds.registry import OURS, definitions
from feedgen.host.account import Account, Published, Records, find_code, find_handle, find_password

MAX_NAME: Final = 24  # as people count letters
MAX_NAME_BYTES: Final = 240
MAX_DESCRIPTION: Final = 300
MAX_DESCRIPTION_BYTES: Final = 3000
MAX_AVATAR_BYTES: Final = 1_000_000
_PICTURES: Final = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
# What the app calls the fields that we write.
_FIELDS: Final = {
    "did": "service",
    "displayName": "name",
    "description": "description",
    "avatar": "picture",
    "acceptsInteractions": "interactions",
    "contentMode": "kind",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a record should say of a feed. An empty picture: whatever is there stays."""

    feed: str
    name: str
    description: str
    content_mode: str | None
    interactions: bool
    picture: bytes = b""
    picture_kind: str = ""

    def fields(self, did: str) -> dict[str, Any]:
        """All but the picture, as the record has them."""
        said = {
            "did": did,
            "displayName": self.name,
            "description": self.description,
            "acceptsInteractions": self.interactions,
            "contentMode": self.content_mode,
        }
        return {name: value for name, value in said.items() if value is not None}


def looks(settings: Settings) -> list[Look]:
    """Of the feeds that the settings name; SettingsError for what Bluesky would refuse."""
    publish, known = settings.publish, definitions(find_feeds(settings.feeds.folder, OURS).feeds.values())
    names, descriptions, avatars = (_by_feed(lines) for lines in (publish.names, publish.descriptions, publish.avatars))
    for feed in (*publish.feeds, *names, *descriptions, *avatars):
        if feed not in known:
            raise SettingsError(f'[publish]: there is no feed "{feed}".', f"There are: {', '.join(sorted(known))}.")
    found = []
    for feed in dict.fromkeys(publish.feeds):
        kind = known[feed]
        name, description = names.get(feed, kind.title), descriptions.get(feed, kind.about)
        _check_length(feed, "name", name, MAX_NAME, MAX_NAME_BYTES)
        _check_length(feed, "description", description, MAX_DESCRIPTION, MAX_DESCRIPTION_BYTES)
        picture, picture_kind = _picture(feed, Path(avatars[feed])) if feed in avatars else (b"", "")
        found.append(Look(feed, name, description, kind.content_mode, publish.interactions, picture, picture_kind))
    return found


def publish(settings: Settings, password_file: Path | None, dry_run: bool, replace: bool) -> int:
    """The command. 0 when every record says what it should. A dry run only reads, as anybody may."""
    wanted = looks(settings)
    _check_reachable(settings)
    with _reader(settings) if dry_run else _account(settings, password_file) as account:
        if isinstance(account, Account):
            _check_publisher(settings, account)
        # All are looked at before the first is written.
        standing = {look.feed: account.record(look.feed) for look in wanted}
        for look in wanted:
            _check_ours(settings.service.did, look.feed, standing[look.feed], replace)
        for look in wanted:
            click.echo(f"{look.feed}: {_write(settings, account, look, standing[look.feed])}")
    if dry_run:
        click.echo("Nothing was written.")
    else:
        for look in wanted:
            click.echo(f"  https://bsky.app/profile/{account.did}/feed/{look.feed}")
    return 0


def unpublish(settings: Settings, feeds: tuple[str, ...], password_file: Path | None, dry_run: bool) -> int:
    """The command: these feeds, or all that the settings name. Records of another service are left alone."""
    with _reader(settings) if dry_run else _account(settings, password_file) as account:
        for feed in feeds or settings.publish.feeds:
            found = account.record(feed)
            if found is None:
                click.echo(f"{feed}: is not published")
            elif found.value.get("did") != settings.service.did:
                click.echo(f"{feed}: belongs to {found.value.get('did')}, not to this service; it stays")
            else:
                if isinstance(account, Account):
                    account.delete(feed, found)
                click.echo(f"{feed}: {'' if isinstance(account, Account) else 'would be '}removed")
    return 0


def whoami(settings: Settings, password_file: Path | None) -> int:
    """The command: who logs in, and which feeds the account has. 1 when the settings name another account."""
    with _account(settings, password_file) as account:
        click.echo(f"handle   {account.handle}\nDID      {account.did}\nPDS      {account.pds}")
        if not account.by_app_password:
            click.echo(
                "This is the account's main password. An app password is enough, and can be taken back.", err=True
            )
        for rkey, record in account.records().items():
            ours = "ours" if record.value.get("did") == settings.service.did else f"of {record.value.get('did')}"
            click.echo(f"feed     {rkey} ({record.value.get('displayName')}), {ours}")
        if account.did != settings.service.publisher_did:
            click.echo(f'The settings name another account. To publish as this one: publisher_did = "{account.did}"')
            return 1
    return 0


def _account(settings: Settings, password_file: Path | None) -> Account:
    handle = find_handle(settings.publish.handle)
    return Account(settings.publish.pds, handle, find_password(password_file), find_code())


def _reader(settings: Settings) -> Records:
    return Records(settings.publish.pds, settings.service.publisher_did)


def _write(settings: Settings, account: Records, look: Look, standing: Published | None) -> str:
    """What was done, or would be if somebody were logged in."""
    before = standing.value if standing is not None else {}
    fields = look.fields(settings.service.did)
    # What others wrote into the record, like labels, stays; what we no longer say goes.
    record = {name: value for name, value in before.items() if name not in _FIELDS or name == "avatar"} | fields
    record["$type"] = FEED_NSID
    record.setdefault("createdAt", datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    new_picture = bool(look.picture) and _cid_in(before.get("avatar")) != _cid_of(look.picture)
    changed = [said for name, said in _FIELDS.items() if name != "avatar" and before.get(name) != record.get(name)]
    changed += ["picture"] if new_picture else []
    if not changed:
        return "is as it should be"
    done = "created" if standing is None else f"updated ({', '.join(changed)})"
    if not isinstance(account, Account):
        return f"would be {done}"
    if new_picture:
        record["avatar"] = account.upload(look.picture, look.picture_kind)
    account.put(look.feed, record, standing)
    return done


def _check_reachable(settings: Settings) -> None:
    if "." not in settings.service.hostname and settings.service.did.startswith("did:web:"):
        raise SettingsError(
            f'[service] hostname is "{settings.service.hostname}": nobody could reach the feeds.',
            "Set it to the public DNS name of this service.",
        )


def _check_publisher(settings: Settings, account: Account) -> None:
    if account.did != settings.service.publisher_did:
        raise SettingsError(
            f"{account.handle} is {account.did}, but the service answers for {settings.service.publisher_did}.",
            f'Set publisher_did = "{account.did}" under [service] and restart the service, or log in as the other.',
        )


def _check_ours(did: str, feed: str, standing: Published | None, replace: bool) -> None:
    if standing is not None and standing.value.get("did") != did and not replace:
        raise FeedgenError(
            f'The account has a feed "{feed}" already, which is answered by {standing.value.get("did")}.',
            f"To take it over, so that it is answered by {did}: --replace. Its likes and pins stay.",
        )


def _by_feed(lines: tuple[str, ...]) -> dict[str, str]:
    return {feed: words.strip() for feed, _, words in (line.partition("=") for line in lines)}


def _check_length(feed: str, what: str, text: str, most: int, most_bytes: int) -> None:
    letters = letters_in(text)
    if letters > most or len(text.encode()) > most_bytes:
        raise SettingsError(
            f"[publish] the {what} of {feed} is too long: {letters} letters.",
            f"Bluesky allows {most} letters and {most_bytes} bytes. It says: {text[:60]}",
        )


def letters_in(text: str) -> int:
    """As people count them: an accent, or what joins two signs into one picture, is no letter of its own.

    Where this and Bluesky's own count differ, this is the smaller one, and the PDS has the last word.
    """
    count, joined, flags = 0, False, 0
    for char in text:
        flag = 0x1F1E6 <= ord(char) <= 0x1F1FF
        flags = flags + 1 if flag else 0
        attached = unicodedata.category(char) in ("Mn", "Me", "Mc", "Cf") or 0x1F3FB <= ord(char) <= 0x1F3FF
        attached |= 0x1160 <= ord(char) <= 0x11FF  # the later parts of a Korean syllable
        count += not (attached or joined or (flag and flags % 2 == 0))
        joined = char == "\u200d"
    return count


def _picture(feed: str, path: Path) -> tuple[bytes, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"[publish] the picture of {feed}: {path}: {error.strerror}", "Give the path of a file."
        ) from None
    kind = next((kind for head, kind in _PICTURES.items() if data.startswith(head)), "")
    if not kind or len(data) > MAX_AVATAR_BYTES:
        what = f"has {len(data)} bytes" if kind else "is neither PNG nor JPEG"
        raise SettingsError(f"[publish] the picture of {feed}: {path} {what}.", "Allowed: PNG or JPEG, 1 MB at most.")
    return data, kind


def _cid_of(data: bytes) -> str:
    """The name that a PDS gives these bytes: CIDv1, raw, SHA-256, in base 32."""
    named = b"\x01\x55\x12\x20" + hashlib.sha256(data).digest()
    return "b" + b32encode(named).decode().lower().rstrip("=")


def _cid_in(blob: Any) -> str:
    """The avatar part of a record."""
    link = blob.get("ref") if isinstance(blob, dict) else None
    if isinstance(link, dict):
        link = link.get("$link") or link.get("link")
    return link if isinstance(link, str) else ""
