"""The stream as a person reads it, line by line: for `feedgen stream tail`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlencode

import click
import msgspec

from feedgen.core.errors import FeedgenError

WIDTH: Final = 100


def address_of(bind: str) -> str:
    if not bind:
        raise FeedgenError(
            "There is no stream to listen to.", 'Set [stream] bind, "127.0.0.1:8092" for example, and restart feedgen.'
        )
    if bind.startswith(("unix:", "tailscale:")):
        raise FeedgenError(f"[stream] bind is {bind}.", "Give the address with --url ws://host:port/stream.")
    return f"ws://{bind}/stream"


def follow(address: str, token: str, filters: Iterable[str], count: int | None, say: Callable[[str], None]) -> None:
    """Until `count` messages, or Ctrl-C. FeedgenError when there is no stream, or it ends."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    pairs = [(name, value) for name, _, value in (one.partition("=") for one in filters)]
    headers = {"Authorization": f"Bearer {token}"} if token else None
    try:
        with connect(f"{address}?{urlencode(pairs)}", additional_headers=headers, max_size=None, proxy=None) as socket:
            for seen, message in enumerate(socket, 1):
                say(line(msgspec.json.decode(message)))
                if seen == count:
                    return
    except KeyboardInterrupt:
        return
    except InvalidStatus as refused:
        body = (refused.response.body or b"")[:500].decode("utf-8", "replace").strip()
        raise FeedgenError(f"The stream refuses: {body}", "feedgen stream tail --help tells the options.") from None
    except ConnectionClosed as closed:
        raise FeedgenError(f"The stream ended: {closed}", "Start it again to go on from now.") from None
    except (OSError, WebSocketException) as error:
        raise FeedgenError(f"Nobody answers at {address}: {error}", "Is feedgen running, with [stream] bind?") from None


def line(message: Any) -> str:
    """One message of the format `feedgen`; others as they are."""
    if not isinstance(message, dict) or "event" not in message:
        return click.style(f"-- {plain(msgspec.json.encode(message).decode())}", fg="yellow")
    event = message["event"]
    commit = event.get("commit")
    if commit is None:
        return click.style(f"{event['did']} {event['kind']}", dim=True)
    author = message.get("author") or {}
    who = click.style(plain(author.get("handle") or event["did"]), fg="cyan", bold=True)
    record = commit.get("record") or {}
    if commit["operation"] == "delete":
        return f"{who} {click.style('deleted ' + plain(message['uri']), dim=True)}"
    text = plain(str(record.get("text", ""))) or click.style(commit["collection"].rpartition(".")[2], dim=True)
    joined = [f"{name} {_who(message[name])}" for name in ("parent", "root", "quoted", "subject") if message.get(name)]
    joined += [f"mentions {plain(one.get('handle', did))}" for did, one in message.get("mentions", {}).items()]
    joined += [f"without {', '.join(message['missing'])}"] if message.get("missing") else []
    return f"{who} {text}" + (click.style(f"\n    {'; '.join(joined)}", dim=True) if joined else "")


def _who(post: dict[str, Any]) -> str:
    author = post.get("author") or {}
    text = plain(str((post.get("record") or {}).get("text", "")))
    return f"@{plain(author.get('handle') or author.get('did', '?'))}: {text}"


def plain(text: str) -> str:
    """On one line, and without what would move the terminal's cursor: it comes from strangers."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
