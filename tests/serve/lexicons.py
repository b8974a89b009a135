"""Whether an answer is what Bluesky's published lexicons say, as strictly as the AppView reads it.

lexicons.json holds what the AppView asks of us, as @atproto/api 0.20.44 has it, without the descriptions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from feedgen.core.ids import is_did, is_nsid, is_rkey

DOCUMENTS: Final[dict[str, dict[str, Any]]] = {
    document["id"]: document["defs"] for document in json.loads(Path(__file__).with_name("lexicons.json").read_text())
}
GET_SKELETON: Final = "app.bsky.feed.getFeedSkeleton"
DESCRIBE: Final = "app.bsky.feed.describeFeedGenerator"
INTERACTIONS: Final = "app.bsky.feed.sendInteractions"


def faults(method: str, body: bytes | str, content_type: str = "application/json") -> list[str]:
    """What is wrong with a good answer to this method; nothing, one hopes."""
    output = DOCUMENTS[method]["main"]["output"]
    if content_type.partition(";")[0].strip() != output["encoding"]:
        return [f"the content type is {content_type!r}"]
    try:
        value = json.loads(body)
    except ValueError as error:
        return [f"not JSON: {error}"]
    found: list[str] = []
    _check(value, output["schema"], "answer", found)
    return found


def input_faults(method: str, value: object) -> list[str]:
    found: list[str] = []
    _check(value, DOCUMENTS[method]["main"]["input"]["schema"], "input", found)
    return found


def _check(value: Any, schema: dict[str, Any], place: str, found: list[str]) -> None:
    match schema["type"]:
        case "object":
            _check_object(value, schema, place, found)
        case "array" if isinstance(value, list):
            for i, item in enumerate(value):
                _check(item, schema["items"], f"{place}[{i}]", found)
        case "string" if isinstance(value, str):
            _check_text(value, schema, place, found)
        case "ref":
            _check(value, _definition(schema["ref"]), place, found)
        case "union":
            _check_union(value, schema, place, found)
        case other:
            found.append(f"{place} is not of type {other}: {value!r}")


def _check_object(value: Any, schema: dict[str, Any], place: str, found: list[str]) -> None:
    if not isinstance(value, dict):
        found.append(f"{place} is not an object: {value!r}")
        return
    found += [f"{place} has no {name}" for name in schema.get("required", []) if name not in value]
    for name, item in value.items():
        # What a lexicon does not name is allowed, but we send nothing of the kind.
        if name == "$type":
            continue
        if name not in schema["properties"]:
            found.append(f"{place} has {name}, which the lexicon does not know")
        elif item is None:
            found.append(f"{place}.{name} is null")
        else:
            _check(item, schema["properties"][name], f"{place}.{name}", found)


def _check_union(value: Any, schema: dict[str, Any], place: str, found: list[str]) -> None:
    kind = value.get("$type") if isinstance(value, dict) else None
    if f"lex:{kind}" in schema["refs"]:
        _check(value, _definition(f"lex:{kind}"), place, found)
    else:
        found.append(f"{place} is of no known $type: {kind!r}")


def _check_text(value: str, schema: dict[str, Any], place: str, found: list[str]) -> None:
    if len(value.encode()) > schema.get("maxLength", len(value.encode())):
        found.append(f"{place} is longer than {schema['maxLength']}")
    is_good = {"did": is_did, "at-uri": _is_at_uri}.get(schema.get("format", ""), lambda text: True)
    if not is_good(value):
        found.append(f"{place} is no {schema['format']}: {value!r}")


def _is_at_uri(text: str) -> bool:
    """With a DID, as all of ours are."""
    scheme, _, rest = text.partition("at://")
    parts = rest.split("/")
    return scheme == "" and len(parts) == 3 and is_did(parts[0]) and is_nsid(parts[1]) and is_rkey(parts[2])


def _definition(ref: str) -> dict[str, Any]:
    document, _, name = ref.removeprefix("lex:").partition("#")
    found: dict[str, Any] = DOCUMENTS[document][name or "main"]
    return found
