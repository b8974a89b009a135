"""Documents that are asked for over HTTPS: an object, or words that say what is wrong."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx

from feedgen.core.ids import is_plc
from feedgen.core.settings import Settings

TIMEOUT_S: Final = 20.0
DID_PATH: Final = "/.well-known/did.json"


def document_of(settings: Settings, did: str) -> dict[str, Any] | str:
    """The DID's document; a text says what is wrong."""
    if is_plc(did):
        url = f"{settings.identity.plc_url.rstrip('/')}/{did}"
    else:
        url = f"https://{did.removeprefix('did:web:')}{DID_PATH}"
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            return object_in(client.get(url), url)
    except httpx.HTTPError as error:
        return f"{url} can't be reached: {words_of(error)}"


def object_in(answer: httpx.Response, url: str) -> dict[str, Any] | str:
    if answer.status_code != 200:
        return f"{url} answers with status {answer.status_code}"
    try:
        told = json.loads(answer.content)
    except (ValueError, RecursionError):
        told = None
    return told if isinstance(told, dict) else f"{url} is no JSON object"


def words_of(error: Exception) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
