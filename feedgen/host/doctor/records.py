"""What our account says of our feeds, against what the settings say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from feedgen.core.errors import FeedgenError
from feedgen.core.ids import FEED_NSID
from feedgen.core.settings import Settings
from feedgen.host.doctor.asking import TIMEOUT_S, document_of
from feedgen.host.doctor.finding import Finding, failure, ok, warning
from feedgen.host.publish import looks


def check_records(settings: Settings) -> Iterator[Finding]:
    """What the publisher's repository says of our feeds, against what we would write there."""
    publisher, service = settings.service.publisher_did, settings.service
    try:
        wanted = looks(settings)
    except FeedgenError as error:
        yield failure("records", error.message, error.hint)
        return
    if publisher == service.did:
        yield warning(
            "records",
            "[service] publisher_did is not set, so nothing is published",
            "Type: feedgen whoami; then set it.",
        )
        return
    document = document_of(settings, publisher)
    if isinstance(document, str):
        yield failure("records", document, "Is [service] publisher_did right?")
        return
    endpoints = {str(s.get("id")).rpartition("#")[2]: s.get("serviceEndpoint") for s in document.get("service") or ()}
    pds = endpoints.get("atproto_pds")
    if not isinstance(pds, str):
        yield failure("records", f"{publisher} has no PDS", "Is [service] publisher_did right?")
        return
    for look in wanted:
        yield _judge_record(look.feed, look.fields(service.did), _record(pds, publisher, look.feed))


def _judge_record(feed: str, wanted: Mapping[str, Any], found: dict[str, Any] | str) -> Finding:
    check, publish = "records", "Type: feedgen publish"
    if isinstance(found, str):
        return (
            failure(check, found, "Try again later.") if found else failure(check, f"{feed} is not published", publish)
        )
    if found.get("did") != wanted["did"]:
        return failure(check, f"{feed} is answered by {found.get('did')}, not by us", f"{publish} --replace")
    differs = [name for name in wanted if found.get(name) != wanted[name]]
    if differs:
        return warning(check, f"{feed} says something else than the settings: {', '.join(differs)}", publish)
    return ok(check, f"{feed} is published as {found.get('displayName')}")


def _record(pds: str, did: str, feed: str) -> dict[str, Any] | str:
    """Its value; a text says why there is none, the empty text that it does not exist."""
    query = {"repo": did, "collection": FEED_NSID, "rkey": feed}
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            answer = client.get(f"{pds.rstrip('/')}/xrpc/com.atproto.repo.getRecord", params=query)
            told = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        return f"the publisher's PDS can't be asked: {error}"
    if answer.status_code == 400 and isinstance(told, dict) and told.get("error") == "RecordNotFound":
        return ""
    value = told.get("value") if isinstance(told, dict) and answer.status_code == 200 else None
    return value if isinstance(value, dict) else f"the publisher's PDS answers with status {answer.status_code}"
