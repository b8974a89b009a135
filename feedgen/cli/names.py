"""Accounts and posts as people type them on the command line: handles are looked up at [appview] url."""

from __future__ import annotations

import asyncio

from feedgen.core.clock import SystemClock
from feedgen.core.errors import FeedgenError, UpstreamError
from feedgen.core.names import ACCOUNT, POST, Name, parse_name
from feedgen.core.settings import Settings
from feedgen.serve.out.handles import Handles, UnknownHandle, did_of


def account(settings: Settings, text: str) -> str:
    """The DID."""
    name = parse_name(text)
    if name is None or name.rkey:
        raise FeedgenError(f"{text!r} is no account.", f"Give {ACCOUNT}.")
    return _subjects(settings, [name])[0]


def post(settings: Settings, text: str) -> str:
    """The at-uri."""
    name = parse_name(text)
    if name is None or not name.rkey:
        raise FeedgenError(f"{text!r} is no post.", f"Give {POST}.")
    return _subjects(settings, [name])[0]


def subjects(settings: Settings, texts: tuple[str, ...]) -> list[str]:
    """DIDs and at-uris. All are understood before any is looked up."""
    names = list[Name]()
    for text in texts:
        name = parse_name(text)
        if name is None:
            raise FeedgenError(f"{text!r} is neither an account nor a post.", f"Give {ACCOUNT}; of a post, {POST}.")
        names.append(name)
    return _subjects(settings, names)


def _subjects(settings: Settings, names: list[Name]) -> list[str]:
    if all(name.has_did for name in names):
        return [name.subject(name.authority) for name in names]
    return asyncio.run(_looked_up(settings, names))


async def _looked_up(settings: Settings, names: list[Name]) -> list[str]:
    handles, found = Handles(settings.appview.url, SystemClock()), list[str]()
    try:
        for name in names:
            try:
                found.append(name.subject(await did_of(name, handles)))
            except UnknownHandle:
                raise FeedgenError(
                    f"No account is called {name.authority}.", "Check the spelling, or give the DID."
                ) from None
            except UpstreamError as error:
                raise FeedgenError(
                    f"Can't look up {name.authority}: {error.message}.", "Try again in a moment, or give the DID."
                ) from None
    finally:
        await handles.close()
    return found
