"""Every setting: its name, type, default, meaning and limits, in one place.

A section is a frozen struct, a key is a field with a `Key` beside its type. To add a key, add a field; to add a
section, add a struct and a field to `Settings`. The file, the environment and `feedgen config show` follow by
themselves; `feedgen config docs` writes docs/settings.md anew. core/config.py does the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from feedgen.core.checks import (
    check_bind,
    check_did,
    check_folder,
    check_host_name,
    check_http_url,
    check_websocket_url,
    or_nothing,
)
from feedgen.core.config import Key, Problem, Section, read_settings


class Service(Section, frozen=True, kw_only=True):
    """Who we are and where we listen."""

    hostname: Annotated[
        str,
        Key(
            "The public DNS name that the AppView reaches us by. `localhost` is for trying things out.",
            check=check_host_name,
        ),
    ] = "localhost"
    did: Annotated[
        str,
        Key(
            "The service's DID, also the audience of its tokens. Empty: `did:web:<hostname>`.",
            check=or_nothing(check_did),
        ),
    ] = ""
    publisher_did: Annotated[
        str,
        Key(
            "The account whose repository holds the feed records. Empty: the same as `did`.",
            check=or_nothing(check_did),
        ),
    ] = ""
    bind: Annotated[
        str,
        Key("Where to listen: `host:port` (port 0: any free one) or `unix:path`.", check=check_bind),
    ] = "127.0.0.1:8090"
    private_bind: Annotated[
        str,
        Key(
            "A second address for what is not for the public (metrics, health in detail). Empty: none.",
            check=or_nothing(check_bind),
        ),
    ] = ""

    def __post_init__(self) -> None:
        # So that nobody else has to know how an empty value is filled in.
        if not self.did:
            msgspec.structs.force_setattr(self, "did", f"did:web:{self.hostname}")
        if not self.publisher_did:
            msgspec.structs.force_setattr(self, "publisher_did", self.did)


class Store(Section, frozen=True, kw_only=True):
    """What is kept, and for how long."""

    dir: Annotated[
        str, Key("The data folder, made when missing; relative to the working folder.", check=check_folder)
    ] = "data"
    retention_days: Annotated[
        int, Key("Days of history to keep; older days are unlinked whole.", unit="days", low=1, high=120)
    ] = 90


class Jetstream(Section, frozen=True, kw_only=True):
    """Where events come from."""

    urls: Annotated[
        tuple[str, ...],
        Key(
            "Hosts, the best first; after repeated failures the next one is tried.",
            check=check_websocket_url,
            min_items=1,
            max_items=16,
        ),
    ] = (
        "wss://jetstream.us-east.bsky.network",
        "wss://jetstream.us-west.bsky.network",
        "wss://jetstream1.us-east.bsky.network",
        "wss://jetstream2.us-east.bsky.network",
        "wss://jetstream1.us-west.bsky.network",
        "wss://jetstream2.us-west.bsky.network",
    )
    wire: Annotated[
        str,
        Key(
            "The protocol: `v2` has sequences and compression, `v1` is the legacy one, `auto` asks the host.",
            choices=("auto", "v1", "v2"),
        ),
    ] = "auto"
    start: Annotated[
        str,
        Key(
            "Where the very first start begins: the oldest event the host still has, or now.", choices=("oldest", "now")
        ),
    ] = "oldest"


class Identity(Section, frozen=True, kw_only=True):
    """How DIDs become keys."""

    plc_url: Annotated[str, Key("The directory of did:plc documents.", check=check_http_url)] = "https://plc.directory"
    did_web: Annotated[
        str,
        Key(
            "Readers with a did:web: `off` treats them as logged out, `proxy` fetches their document through "
            "`proxy_url`, `direct` fetches it from here, which shows this machine's address to hosts that callers "
            "choose.",
            choices=("off", "direct", "proxy"),
        ),
    ] = "off"
    proxy_url: Annotated[
        str,
        Key(
            "The HTTP proxy for did:web documents and repositories. Needed when `did_web` or `pds` is `proxy`.",
            check=or_nothing(check_http_url),
        ),
    ] = ""
    pds: Annotated[
        str,
        Key(
            "Where a new reader's follows and older likes come from: `proxy` and `direct` ask their PDS as with "
            "`did_web`; with `off` only what was heard since this service began to listen is known.",
            choices=("off", "direct", "proxy"),
        ),
    ] = "off"
    trusted_pds: Annotated[
        tuple[str, ...],
        Key(
            "PDS addresses that are asked directly, whatever `pds` says and wherever they are: your own, for example.",
            check=check_http_url,
        ),
    ] = ()


class Appview(Section, frozen=True, kw_only=True):
    """Where public profiles and posts are looked up."""

    url: Annotated[str, Key("An AppView's public API.", check=check_http_url)] = "https://public.api.bsky.app"


class Log(Section, frozen=True, kw_only=True):
    """What is told on stderr."""

    level: Annotated[
        str,
        Key(
            "The least important line that is shown; `debug` names people.",
            choices=("debug", "info", "warning", "error"),
        ),
    ] = "info"
    format: Annotated[
        str,
        Key("`auto` is text on a terminal and JSON otherwise.", choices=("auto", "text", "json")),
    ] = "auto"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    service: Service = Service()
    store: Store = Store()
    jetstream: Jetstream = Jetstream()
    identity: Identity = Identity()
    appview: Appview = Appview()
    log: Log = Log()

    def problems(self) -> list[Problem]:
        """What each key alone can't tell: values that don't go together."""
        found = []
        for key in ("did_web", "pds"):
            if getattr(self.identity, key) == "proxy" and not self.identity.proxy_url:
                found.append(
                    Problem(
                        "identity",
                        "proxy_url",
                        f'is empty, but {key} = "proxy" needs it',
                        "Allowed: the http:// or https:// URL of your proxy.",
                    )
                )
        bind = self.service.bind
        if bind == self.service.private_bind and not bind.endswith(":0"):
            found.append(
                Problem(
                    "service",
                    "private_bind",
                    f'= "{bind}" is the same address as bind',
                    "Allowed: another address, or nothing.",
                )
            )
        return found

    def warnings(self) -> list[str]:
        """What is allowed, but should be said at the start."""
        said = []
        if "." not in self.service.hostname:
            said.append(
                f'[service] hostname is "{self.service.hostname}": fine for trying things out, but '
                "Bluesky can't reach this feed. Set it to this service's public DNS name."
            )
        for key in ("did_web", "pds"):
            if getattr(self.identity, key) == "direct":
                said.append(f'[identity] {key} = "direct" shows this machine\'s address to hosts that callers choose.')
        return said


def load_settings(
    path: Path | None = None, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> Settings:
    """The settings of this process; SettingsError when they can't be used."""
    return read_settings(Settings, path, env, folder).get()
