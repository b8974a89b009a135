"""Settings of where we listen and whom we ask: [service], [tunnel], [fallback], [jetstream], [identity], [appview]."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from feedgen.core.checks import (
    check_bind,
    check_did,
    check_host,
    check_host_name,
    check_http_url,
    check_proxy,
    check_websocket_url,
    or_nothing,
)
from feedgen.core.config import Section
from feedgen.core.config_values import Key

LOCAL_PROXIES: Final = ("127.0.0.0/8", "::1", "unix")


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
        Key(
            "Where to listen: `host:port` (port 0: any free one), or `unix:path`. `tailscale:port` is this machine's "
            "address in the tunnel.",
            check=check_bind,
        ),
    ] = "127.0.0.1:8090"
    private_bind: Annotated[
        str,
        Key(
            "A second address for what is not for the public (metrics, health in detail). Empty: none.",
            check=or_nothing(check_bind),
        ),
    ] = ""
    private_hosts: Annotated[
        tuple[str, ...],
        Key(
            "Names that the private address is asked by, like home.example.net. Its number, `localhost` and names "
            "without a dot need not be named. Other names are refused, because a web page could make its own lead "
            "there and read what only you may see.",
            check=check_host_name,
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Key(
            "Whose word about a caller's address is believed (X-Forwarded-For): the VPS's address in the tunnel, for "
            "example. `unix` stands for callers through a unix socket. Everybody behind a proxy that is missing here "
            "looks like one caller, and shares one caller's limits.",
            check=check_proxy,
        ),
    ] = LOCAL_PROXIES

    def __post_init__(self) -> None:
        # So that nobody else has to know how an empty value is filled in.
        if not self.did:
            msgspec.structs.force_setattr(self, "did", f"did:web:{self.hostname}")
        if not self.publisher_did:
            msgspec.structs.force_setattr(self, "publisher_did", self.did)

    @property
    def trusts_nobody_outside(self) -> bool:
        """Whether a proxy on another machine would be taken for the caller."""
        host = self.bind.rpartition(":")[0]
        is_local = self.bind.startswith("unix:") or host.startswith(("127.", "localhost", "[::1]"))
        return not is_local and set(self.trusted_proxies) <= set(LOCAL_PROXIES)


class Tunnel(Section, frozen=True, kw_only=True):
    """The private network between this machine and the VPS."""

    kind: Annotated[
        str,
        Key(
            "`tailscale`: its state is measured once a minute (docs/tailscale.md). `none`: another one, or none.",
            choices=("none", "tailscale"),
        ),
    ] = "none"
    vps: Annotated[
        str,
        Key("The VPS in the tunnel, by its name or address there.", check=or_nothing(check_host)),
    ] = ""


class Fallback(Section, frozen=True, kw_only=True):
    """What the VPS answers while this machine is off: the running process hands it a fresh popular page."""

    url: Annotated[
        str,
        Key(
            "`feedgen egress` on the VPS, at its address in the tunnel, like `http://100.64.0.2:8118`. Empty: none.",
            check=or_nothing(check_http_url),
        ),
    ] = ""
    dir: Annotated[str, Key("A folder that the files are written to, for a copy of your own. Empty: none.")] = ""
    every_s: Annotated[int, Key("How often.", unit="s", low=10, high=86_400)] = 300


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
    archive_days: Annotated[
        int,
        Key(
            "How much of the past the very first start fetches from the archive of the first of `urls`, a v2 host. "
            "A day is about 1 to 4.5 GB to download; `feedgen archive plan` says more.",
            "days",
            low=0,
            high=90,
        ),
    ] = 0
    archive_heal: Annotated[
        bool, Key("After a stop of more than a day, fetch what was missed from the archive of the first of `urls`.")
    ] = True
    archive_key: Annotated[
        str,
        Key(
            "The API key for the archive, if its host wants one. Better kept in `archive_key_file` or a systemd "
            "credential named `archive_key`.",
            secret=True,
        ),
    ] = ""
    archive_key_file: Annotated[str, Key("A file with that key in its only line.")] = ""


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
