"""The control routes, `/_ctl/...`: tokens, sample readers, faults, made-up events, and what the world knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from feedgen.simnet import tokens
from feedgen.simnet.faults import KINDS
from feedgen.simnet.httpd import Request, Response, Router, answer, failure
from feedgen.simnet.records import SimEvent

if TYPE_CHECKING:
    from feedgen.simnet.server import Simnet

MAX_READERS: Final = 1_000

ROUTES: Final = """\
  GET  /_ctl/                 addresses, people, progress, each host's numbers
  GET  /_ctl/readers?k=5      people worth asking for: DID, handle, languages, interests, likes
  GET  /_ctl/person?person=7  one of them (a number, a DID or a handle)
  GET  /_ctl/token?person=7&aud=did:web:feed.example[&lxm=...&lifetime_s=60&fragment=...&high_s=1]
  POST /_ctl/rotate?person=7  a new signing key, and the identity event that goes with it
  POST /_ctl/chances          {"person": 7, "posts": [at-uri, ...]}: how likely each is liked, if seen
  POST /_ctl/like             {"person": 7, "post": at-uri}: a like, told at once
  POST /_ctl/resync           {"person": 7, "without": [rkey, ...]}: a sync, and the repository's records again (v2)
  POST /_ctl/event            {"did", "kind", "operation", "collection", "rkey", "record": {...}, "detail": {...}}
  POST /_ctl/advance?seconds=60   move a manual clock, and tell what happens until then
  GET, POST, DELETE /_ctl/faults  {"kind", "where", "count", "duration_s", options...}
"""


class _Bad(Exception):
    """Answered with 400."""


class Control:
    def __init__(self, simnet: Simnet) -> None:
        self._simnet = simnet
        routes: dict[str, Callable[[Request], Any]] = {
            "": simnet.status_of,
            "readers": self._readers,
            "person": lambda request: simnet.describe(self._person(request.first("person"))),
            "token": self._token,
            "rotate": self._rotate,
            "chances": self._chances,
            "like": self._like,
            "resync": self._resync,
            "event": self._event,
            "advance": self._advance,
            "faults": self._faults,
        }
        self.router = Router({f"/_ctl/{name}": self._answering(route) for name, route in routes.items()})

    def _answering(self, route: Callable[[Request], Any]) -> Any:
        async def handler(request: Request) -> Response:
            try:
                return answer(route(request))
            except (_Bad, ValueError, KeyError, TypeError, msgspec.MsgspecError) as bad:
                return failure(400, "InvalidRequest", f"{bad}")
            except RuntimeError as wrong:
                return failure(409, "NotNow", f"{wrong}")

        return handler

    def _person(self, name: str | int) -> int:
        people = self._simnet.people
        if isinstance(name, int) or name.isdigit():
            person: int | None = int(name)
        else:
            person = people.index(name) if name.startswith("did:") else people.by_handle(name)
        if person is None or not 0 <= person < people.n_people:
            raise _Bad(f"nobody is called {name!r}; there are {people.n_people} people")
        return person

    def _readers(self, request: Request) -> list[dict[str, Any]]:
        k = int(request.first("k", "5"))
        if not 1 <= k <= MAX_READERS:
            raise _Bad(f"k must be between 1 and {MAX_READERS}")
        return [self._simnet.describe(person) for person in self._simnet.readers(k)]

    def _token(self, request: Request) -> dict[str, Any]:
        person = self._person(request.first("person", "0"))
        if not (aud := request.first("aud")):
            raise _Bad("aud, the service's DID, is needed")
        token = self._simnet.token(
            person,
            aud,
            request.first("lxm", tokens.GET_FEED_SKELETON) or None,
            lifetime_s=float(request.first("lifetime_s", str(tokens.LIFETIME_S))),
            fragment=request.first("fragment"),
            high_s=request.first("high_s") in ("1", "true"),
        )
        return {"person": person, "did": self._simnet.people.did(person), "token": token}

    def _rotate(self, request: Request) -> dict[str, Any]:
        person = self._person(request.first("person"))
        self._simnet.rotate(person)
        return {"person": person}

    def _chances(self, request: Request) -> dict[str, Any]:
        asked = msgspec.json.decode(request.body)
        chances = self._simnet.world.like_chances(self._person(asked["person"]), asked["posts"])
        return {"chances": [None if c != c else round(float(c), 9) for c in chances]}

    def _like(self, request: Request) -> dict[str, Any]:
        asked = msgspec.json.decode(request.body)
        return _told(self._simnet.like(self._person(asked["person"]), asked["post"]))

    def _resync(self, request: Request) -> dict[str, Any]:
        asked = msgspec.json.decode(request.body)
        person = self._person(asked["person"])
        return {"events": len(self._simnet.resync(person, set(asked.get("without", ()))))}

    def _event(self, request: Request) -> dict[str, Any]:
        asked = msgspec.json.decode(request.body)
        for name in ("record", "detail"):
            if name in asked:
                asked[name] = msgspec.json.encode(asked[name])
        return _told(self._simnet.emit(SimEvent(0, 0, asked.pop("did"), asked.pop("kind", "commit"), **asked)))

    def _advance(self, request: Request) -> dict[str, Any]:
        return {"events": self._simnet.advance(float(request.first("seconds", "0")))}

    def _faults(self, request: Request) -> Any:
        faults = self._simnet.faults
        if request.method == "DELETE":
            return {"ended": faults.clear(request.first("where", "*"))}
        if request.method == "POST":
            asked = msgspec.json.decode(request.body)
            faults.add(asked.pop("kind"), asked.pop("where", "*"), **asked)
        return {"faults": faults.listing(), "kinds": KINDS}


def _told(event: SimEvent) -> dict[str, Any]:
    uri = f"at://{event.did}/{event.collection}/{event.rkey}" if event.kind == "commit" else ""
    return {"seq": event.seq, "time_us": event.time_us, "uri": uri}
