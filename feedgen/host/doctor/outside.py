"""What the world sees under our public name, what our account says of us, and the tunnel in between."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from feedgen.core.errors import FeedgenError
from feedgen.core.ids import FEED_NSID, is_plc
from feedgen.core.page_times import LATE_S, MAX_LATE_SHARE
from feedgen.core.settings import Settings
from feedgen.host.account import Account
from feedgen.host.doctor.asking import DID_PATH, TIMEOUT_S, document_of, object_in, words_of
from feedgen.host.doctor.finding import Finding, failure, ok, warning
from feedgen.host.tailscale import Tailscale
from feedgen.host.tunnel import TAILSCALE, untrusted_vps
from feedgen.host.vps_pages import ask

TAILNET: Final = ipaddress.ip_network("100.64.0.0/10")
SOON_DAYS: Final = 14
DESCRIBE_PATH: Final = "/xrpc/app.bsky.feed.describeFeedGenerator"
SKELETON_PATH: Final = "/xrpc/app.bsky.feed.getFeedSkeleton"
SKELETON_METHOD: Final = "app.bsky.feed.getFeedSkeleton"
LOOK_AT_CADDY: Final = (
    "Look at Caddy on the VPS (journalctl -u caddy), and whether it reaches this computer (docs/caddy.md)."
)
# What serve/http/routes.py calls them; the answer has the caller's address as the service sees it.
WHO_HEADER: Final = "feedgen-who-am-i"
MARK_HEADER: Final = "feedgen-caller"
A_STRANGER: Final = "192.0.2.77"
# Well-formed, of nobody: a service that verifies answers 401.
FORGED: Final = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NksifQ.eyJpc3MiOiJkaWQ6cGxjOm5vYm9keSJ9.AAAA"


@dataclass(frozen=True, slots=True)
class Front:
    """Our public name, and where it is reached: its own address on port 443, or another that was given."""

    hostname: str
    connect_to: str = ""

    @property
    def address(self) -> tuple[str, int]:
        if not self.connect_to:
            return self.hostname, 443
        parts = urlsplit(f"//{self.connect_to}")
        return parts.hostname or self.hostname, parts.port or 443

    def mark(self, proxy: str = "", forwarded: str = "") -> str:
        """Our address as the service sees it, directly or through a proxy on the VPS; empty: not in the answer."""
        headers = {WHO_HEADER: "1"} | ({"x-forwarded-for": forwarded} if forwarded else {})
        host, port = self.address
        url = f"https://{f'[{host}]' if ':' in host else host}:{port}{DESCRIBE_PATH}"
        asking, sni = headers | {"host": self.hostname}, {"sni_hostname": self.hostname}
        if proxy:
            url, asking, sni = f"https://{self.hostname}{DESCRIBE_PATH}", headers, {}
        trust = httpx.create_ssl_context()
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=trust, proxy=proxy or None) as client:
            return str(client.get(url, headers=asking, extensions=sni).headers.get(MARK_HEADER, ""))

    def get(self, path: str, token: str = "", **query: str) -> httpx.Response:
        """The certificate must be the public name's, wherever it is reached."""
        host, port = self.address
        headers = {"host": self.hostname} | ({"authorization": f"Bearer {token}"} if token else {})
        url = f"https://{f'[{host}]' if ':' in host else host}:{port}{path}"
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=httpx.create_ssl_context()) as client:
            return client.get(url, params=query, headers=headers, extensions={"sni_hostname": self.hostname})


# --- DNS, certificate, documents


def check_name(front: Front) -> Finding:
    """Whether the public name leads to an address that the world can reach."""
    if front.connect_to:
        return ok("dns", f"not looked at: {front.hostname} is reached at {front.connect_to}, as you said")
    try:
        found = socket.getaddrinfo(front.hostname, 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return failure(
            "dns",
            f"{front.hostname} has no address ({error})",
            "Make an A record with the VPS's address at your DNS provider; it can take an hour to take effect.",
        )
    addresses = sorted({str(entry[4][0]) for entry in found})
    hidden = [text for text in addresses if not _is_public(text)]
    if hidden:
        return failure(
            "dns",
            f"{front.hostname} leads to {', '.join(hidden)}, which the world can't reach",
            "The record must have the VPS's public address, not this computer's or the tunnel's.",
        )
    return ok("dns", f"{front.hostname} is {', '.join(addresses)}")


def check_certificate(front: Front, now: datetime.datetime) -> Finding:
    try:
        context = httpx.create_ssl_context()
        with (
            socket.create_connection(front.address, TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=front.hostname) as secure,
        ):
            told = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return failure("certificate", f"is not accepted: {error.verify_message}", LOOK_AT_CADDY)
    except OSError as error:
        return failure("certificate", f"{front.hostname} can't be reached by HTTPS: {error}", LOOK_AT_CADDY)
    ends = datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told["notAfter"])), datetime.UTC)
    days = (ends - now).days
    if days < SOON_DAYS:
        return warning("certificate", f"ends in {days} days, and should have been renewed by now", LOOK_AT_CADDY)
    return ok("certificate", f"good for {days} more days")


def check_documents(settings: Settings, front: Front) -> Iterator[Finding]:
    """did.json (or the directory's document) and the list of feeds, as the world gets them."""
    service = settings.service
    yield _service_document(settings, front)
    told = _object_at(front, DESCRIBE_PATH)
    if isinstance(told, str):
        yield failure("description", told, LOOK_AT_CADDY)
        return
    listed = {str(feed.get("uri")) for feed in told.get("feeds") or () if isinstance(feed, dict)}
    missing = [feed for feed in settings.publish.feeds if feed_uri(settings, feed) not in listed]
    if told.get("did") != service.did or missing:
        what = f"says it is {told.get('did')}" if told.get("did") != service.did else f"lacks {', '.join(missing)}"
        yield failure(
            "description", f"the service {what}", "Is it running with these settings? sudo systemctl restart feedgen"
        )
        return
    yield ok("description", f"{len(listed)} feeds are served")


def _service_document(settings: Settings, front: Front) -> Finding:
    did, endpoint = settings.service.did, f"https://{settings.service.hostname}"
    if is_plc(did):
        told: dict[str, Any] | str = document_of(settings, did)
        fix = "Update the service of this DID in the directory."
    elif did == f"did:web:{settings.service.hostname}":
        told, fix = _object_at(front, DID_PATH), LOOK_AT_CADDY
    else:
        return ok("did.json", f"{did} is kept elsewhere")
    if isinstance(told, str):
        return failure("did.json", told, fix)
    endpoints = {str(s.get("id")).rpartition("#")[2]: s.get("serviceEndpoint") for s in told.get("service") or ()}
    if told.get("id") != did or endpoints.get("bsky_fg") != endpoint:
        where = endpoints.get("bsky_fg", "nowhere")
        return failure("did.json", f"says {told.get('id')} at {where}, but should say {did} at {endpoint}", fix)
    return ok("did.json", f"{did} at {endpoint}")


# --- a request from outside in


def check_request(settings: Settings, front: Front, account: Account | None) -> Iterator[Finding]:
    """As the AppView asks: without a token, with a forged one, and with one that the publisher's PDS signs."""
    if not settings.publish.feeds:
        yield ok("request", "there is no feed to ask for")
        return
    feed = feed_uri(settings, settings.publish.feeds[0])
    trouble = _skeleton(front, feed, "")
    if trouble:
        yield failure("request", trouble, LOOK_AT_CADDY)
        return
    try:
        status = front.get(SKELETON_PATH, FORGED, feed=feed, limit="1").status_code
    except httpx.HTTPError as error:
        status = 0
        trouble = str(error)
    if status != 401:
        yield failure(
            "request",
            f"a forged token is answered with {status or trouble}, not refused",
            "The VPS answers with its fallback, so it doesn't reach this computer; or else it removes Authorization.",
        )
        return
    if account is None:
        yield ok("request", "answered; forged ones are refused. Give --password-file for one that is signed")
        return
    try:
        token = account.service_token(settings.service.did, SKELETON_METHOD)
    except FeedgenError as error:
        yield failure("request", f"no token to ask with: {error.message}", error.hint)
        return
    trouble = _skeleton(front, feed, token)
    if trouble:
        yield failure(
            "request",
            f"signed by {account.handle}: {trouble}",
            "Is the clock right (see above)? Is [service] did what the records say? Can plc_url be reached?",
        )
        return
    yield ok("request", f"answered, also when signed by {account.handle}; forged ones are refused")


def _skeleton(front: Front, feed: str, token: str) -> str:
    """What is wrong with a page; empty when nothing is."""
    try:
        answer = front.get(SKELETON_PATH, token, feed=feed, limit="1")
    except httpx.HTTPError as error:
        return f"no answer: {words_of(error)}"
    try:
        told = answer.json()
    except ValueError:
        told = None
    if answer.status_code != 200:
        said = told.get("error") if isinstance(told, dict) else ""
        return f"answered with {answer.status_code} {said or ''}".strip()
    if not isinstance(told, dict) or not isinstance(told.get("feed"), list):
        return "answered with something that is no page of a feed"
    return ""


# --- who is who


def check_callers(settings: Settings, front: Front) -> Iterator[Finding]:
    """Two clients have two addresses, and a client can't forge its address."""
    check, egress = "callers", settings.identity.proxy_url or settings.fallback.url
    try:
        straight, forged = front.mark(), front.mark(forwarded=A_STRANGER)
    except (httpx.HTTPError, OSError) as error:
        yield failure(check, f"can't be compared: {words_of(error)}", LOOK_AT_CADDY)
        return
    if not straight:
        yield warning(check, "can't be compared: the service does not report our address", LOOK_AT_CADDY)
        return
    if forged != straight:
        yield failure(
            check,
            "a caller can choose the address that it is seen as, and so have everybody's limits",
            "Caddy must replace X-Forwarded-For, as the Caddyfile of `feedgen vps` does.",
        )
        return
    try:
        other = front.mark(proxy=egress) if egress else ""
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        other = ""  # check_hosts says what is wrong with it
    if not other:
        yield ok(check, "can't forge their address; no two were compared, since no egress answers")
    elif straight == other:
        yield failure(
            check,
            "all callers look like one address, so one of them can use up the limits of all",
            f"Set [service] trusted_proxies to the VPS's address in the tunnel{_vps_address(settings)}, and restart.",
        )
    else:
        yield ok(check, "this computer and the VPS are seen as two, and can't forge their address")


def _vps_address(settings: Settings) -> str:
    if settings.tunnel.kind != TAILSCALE or not settings.tunnel.vps:
        return ""
    try:
        peer = Tailscale().status().peer(settings.tunnel.vps)
    except FeedgenError:
        return ""
    return f" ({', '.join(peer.addresses)})" if peer is not None and peer.addresses else ""


# --- records


def check_page_times(settings: Settings) -> Iterator[Finding]:
    """Whether readers get their pages in time, as the VPS counts it."""
    if not settings.fallback.url:
        return
    try:
        times = ask(settings.fallback.url)
    except FeedgenError as error:
        yield warning("page times", error.message, error.hint)
        return
    said = f"{times.late} of {times.pages} pages took over {LATE_S:.0f} s at the VPS"
    if times.late > MAX_LATE_SHARE * times.pages:
        advice = "The AppView throws such answers away. Is the line slow, or this computer busy? See /status."
        yield warning("page times", said, advice)
    else:
        yield ok("page times", said)


# --- the tunnel


def check_tunnel(settings: Settings, now: datetime.datetime) -> Iterator[Finding]:
    """Is it up, until when, and how does it reach the VPS."""
    kind, vps = settings.tunnel.kind, settings.tunnel.vps
    if kind != TAILSCALE:
        yield ok("tunnel", f'not looked at: [tunnel] kind is "{kind}"')
        return
    tailscale = Tailscale()
    try:
        status = tailscale.status()
    except FeedgenError as error:
        yield failure("tunnel", error.message, error.hint)
        return
    if (trouble := status.trouble()) is not None:
        yield failure("tunnel", trouble.message, trouble.hint)
        return
    days = (status.key_expires - now).days if status.key_expires is not None else None
    up = f"{status.name or 'this computer'} is {status.addresses[0]}"
    if days is not None and days < SOON_DAYS:
        yield warning(
            "tunnel",
            f"{up}; its key ends in {days} days",
            "Disable key expiry for this machine in the admin console, or type: sudo tailscale up --force-reauth",
        )
    else:
        yield ok("tunnel", f"{up}; its key {'never ends' if days is None else f'is good for {days} days'}")
    if vps:
        yield _way_to(vps, tailscale)
        if missing := untrusted_vps(status, vps, settings.service.trusted_proxies):
            yield failure("tunnel", missing.message, missing.hint)


def _way_to(vps: str, tailscale: Tailscale) -> Finding:
    try:
        ping = tailscale.ping(vps)
    except FeedgenError as error:
        return failure("tunnel", error.message, error.hint)
    if not ping.direct:
        return warning(
            "tunnel",
            f"{vps} is reached through {ping.way}, {ping.ms:.0f} ms: slower than need be",
            "Let UDP port 41641 into the VPS; see https://tailscale.com/kb/1082/firewall-ports",
        )
    return ok("tunnel", f"{vps} is reached directly, {ping.ms:.0f} ms")


# --- shared


def feed_uri(settings: Settings, feed: str) -> str:
    return f"at://{settings.service.publisher_did}/{FEED_NSID}/{feed}"


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return address.is_global and address not in TAILNET


def _object_at(front: Front, path: str) -> dict[str, Any] | str:
    """A text says what is wrong."""
    try:
        answer = front.get(path)
    except httpx.HTTPError as error:
        return f"https://{front.hostname}{path} can't be reached: {words_of(error)}"
    return object_in(answer, f"https://{front.hostname}{path}")
