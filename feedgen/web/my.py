"""My feed: readers say how they want theirs, and see or erase what is kept of them. serve/who/sign_in.py signs them in.

Every form is sent by POST, from our own pages only: browsers tell where a request comes from, the session's cookie
does not come along with other sites' forms (SameSite), and forms bear a token of their session.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from feedgen.core.budget import OUTSIDE_S
from feedgen.core.clock import Clock
from feedgen.core.errors import StoreError, UpstreamError
from feedgen.core.languages import UNKNOWN, number
from feedgen.core.names import parse_name
from feedgen.feeds.wishes import FOLLOWS, FRESHNESS, MAX_LANGUAGES, MOST_BY_AUTHOR, Wishes
from feedgen.serve.http.limits import Limits, Rate, RateLimit
from feedgen.serve.http.xrpc import rate_limited
from feedgen.serve.readers.viewer import erase, told_of
from feedgen.serve.readers.wishes import KeptWishes
from feedgen.serve.who.sign_in import CODE_S, SESSION_S, Begun, Lookout, Seals, Session, new_code, post_text, signed_in
from feedgen.web.site import Page, Site, Sorry
from feedgen.web.who import Guests

PATH: Final = "/my"
LIST: Final = f"{PATH}/list"
SESSION: Final = "feedgen_session"
BEGUN: Final = "feedgen_begun"
MAX_FORM: Final = 8 * 1024
MAX_NAME: Final = 300  # an address of a profile is long
RATE: Final = Rate(per_s=0.2, burst=12)  # attempts to sign in, an address
COMPOSE: Final = "https://bsky.app/intent/compose?text="

FRESHNESS_WORDS: Final = {
    "freshest": "Newest only",
    "fresher": "Fresher",
    "": "Default",
    "calmer": "Calmer",
    "calmest": "The best of the last days",
}
FOLLOWS_WORDS: Final = {
    "none": "No boost",
    "": "Default: more if you have few likes",
    "some": "Some",
    "much": "Much",
}
YES_NO: Final = {"": None, "yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Mine:
    """What these pages are made with, once everything is open. `flush` brings to the disk what is known in memory."""

    seals: Seals
    wishes: KeptWishes
    lookout: Lookout
    flush: Callable[[], Awaitable[None]]


class MyFeed:
    def __init__(self, site: Site, guests: Guests, limits: Limits, clock: Clock, mine: Callable[[], Mine]) -> None:
        self._site, self._guests, self._limits, self._mine = site, guests, limits, mine
        self._rate = RateLimit(RATE, clock)
        self._folder = Path(site.settings.store.dir)

    def pages(self) -> list[Page]:
        posts = {"begin": self.begin, "finish": self.finish, "wishes": self.save, "out": self.out, "erase": self.erase}
        return [
            Page(path=PATH, answer=self.page, label="my", title="My feed"),
            Page(path=f"{PATH}/data", answer=self.data, label="my"),
            *(
                Page(path=f"{PATH}/{name}", answer=answer, label="my", methods=("POST",))
                for name, answer in posts.items()
            ),
        ]

    # --- signing in

    async def page(self, request: Request) -> Response:
        session = self._session(request)
        if session is not None:
            return self._settings(request, session)
        begun = self._begun(request)
        if begun is None:
            return self._ask_who(request)
        return self._ask_to_post(request, begun)

    def _ask_who(self, request: Request, who: str = "", trouble: Sorry | None = None) -> Response:
        """Mistakes leave in the form what was typed."""
        status = trouble.status if trouble else 200
        return self._site.html(request, "sign_in.html", status, begun=None, who=who, max_name=MAX_NAME, trouble=trouble)

    async def begin(self, request: Request) -> Response:
        self._check_sender(request)
        self._check_rate(request)
        who = (await _form(request)).get("who", "").strip()[:MAX_NAME]
        try:
            did = await self._guests.did(who)
        except Sorry as sorry:
            return self._ask_who(request, who, sorry)
        name = parse_name(who)
        begun = Begun(did, name.authority if name else did, new_code(), self._mine().seals.now_s())
        answer = RedirectResponse(PATH, 303)
        self._set(request, answer, BEGUN, self._mine().seals.seal(begun), CODE_S)
        return answer

    async def finish(self, request: Request) -> Response:
        self._check_sender(request)
        self._check_rate(request)
        begun = self._begun(request)
        if begun is None:
            signed_in.add(1, "too late")
            raise Sorry(400, "The code has expired", "A code is valid for ten minutes. Start again to get a new one.")
        try:
            posted = await self._mine().lookout.posted(begun.did, self._text(begun), begun.at_s)
        except UpstreamError:
            signed_in.add(1, "failed")
            return self._ask_to_post(request, begun, "Bluesky's servers don't answer. Try again in a moment.")
        if not posted:
            signed_in.add(1, "not posted")
            return self._ask_to_post(
                request, begun, "We can't see your post yet. Wait a few seconds, then press the button again."
            )
        signed_in.add(1, "good")
        session = Session(begun.did, begun.name, self._mine().seals.now_s())
        answer = RedirectResponse(PATH, 303)
        self._set(request, answer, SESSION, self._mine().seals.seal(session), SESSION_S)
        self._drop(answer, BEGUN)
        return answer

    async def out(self, request: Request) -> Response:
        self._check_sender(request)
        answer = RedirectResponse(PATH, 303)
        self._drop(answer, SESSION)
        self._drop(answer, BEGUN)
        return answer

    def _ask_to_post(self, request: Request, begun: Begun, trouble: str = "") -> Response:
        text = self._text(begun)
        compose = COMPOSE + quote(text)
        return self._site.html(request, "sign_in.html", begun=begun, text=text, compose=compose, trouble=trouble)

    def _text(self, begun: Begun) -> str:
        return post_text(self._site.service.hostname, begun.code)

    # --- the feed

    def _settings(
        self,
        request: Request,
        session: Session,
        trouble: str = "",
        typed: dict[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        """`typed` is a form that could not be saved: nobody has to type it again."""
        return self._site.html(
            request,
            "my.html",
            status,
            session=session,
            wishes=typed_of(self._mine().wishes.of(session.did)) if typed is None else typed,
            token=self._mine().seals.token(request.cookies[SESSION]),
            freshness=FRESHNESS_WORDS,
            follows=FOLLOWS_WORDS,
            lists=self._site.settings.lists,
            most_by_author=MOST_BY_AUTHOR,
            saved=request.query_params.get("saved") == "1",
            trouble=trouble,
        )

    async def save(self, request: Request) -> Response:
        session, form = await self._sent(request)
        try:
            await self._mine().wishes.put(session.did, wishes_of(form))
        except StoreError:
            return self._settings(
                request, session, "Not saved: the server could not write to its disk. Try again in a moment.", form, 503
            )
        except Sorry as sorry:
            return self._settings(request, session, f"Not saved. {sorry.title}: {sorry.text}", form, sorry.status)
        return RedirectResponse(f"{PATH}?saved=1", 303)

    async def data(self, request: Request) -> Response:
        session = self._session(request)
        if session is None:
            return RedirectResponse(PATH, 303)
        self._check_rate(request)
        await self._mine().flush()
        content = await asyncio.to_thread(_all_of, self._folder, session.did)
        headers = {"content-disposition": 'attachment; filename="my-feed.json"', "cache-control": "no-store"}
        return Response(content, 200, headers | {"x-content-type-options": "nosniff"}, "application/json")

    async def erase(self, request: Request) -> Response:
        session, form = await self._sent(request)
        if form.get("sure") != "yes":
            return self._settings(request, session, "Nothing was erased. Tick the box to confirm, then press Erase.")
        await self._mine().flush()
        await erase(self._folder, session.did, OUTSIDE_S)  # the order is in the file; it is carried out in any case
        answer = self._site.html(request, "my_erased.html")
        self._drop(answer, SESSION)
        return answer

    # --- who asks

    async def _sent(self, request: Request) -> tuple[Session, dict[str, str]]:
        """Whose form it is, and what is in it."""
        self._check_sender(request)
        session, form = self._session(request), await _form(request)
        if session is None:
            raise Sorry(401, "You are signed out", "Sign in again, then submit the form again.")
        token = self._mine().seals.token(request.cookies[SESSION])
        if not hmac.compare_digest(token.encode(), form.get("token", "").encode()):
            raise Sorry(403, "This form was not sent from this site", "Open My feed and use the form there.")
        return session, form

    def _session(self, request: Request) -> Session | None:
        return session_of(request, self._mine().seals)

    def _begun(self, request: Request) -> Begun | None:
        found = self._mine().seals.open(request.cookies.get(BEGUN, ""), Begun, CODE_S)
        return found if isinstance(found, Begun) else None

    def _check_sender(self, request: Request) -> None:
        """Other sites' forms are refused."""
        site = request.headers.get("sec-fetch-site", "")
        origin = urlsplit(request.headers.get("origin", "")).netloc
        if (site and site not in ("same-origin", "none")) or (origin and origin != request.headers.get("host")):
            raise Sorry(403, "This form was not sent from this site", "Open My feed and use the form there.")

    def _check_rate(self, request: Request) -> None:
        if not request.state.private and not self._rate.take(self._limits.addresses.of(request)):
            raise rate_limited()

    def _set(self, request: Request, answer: Response, name: str, value: str, good_s: int) -> None:
        behind_tls = not request.state.private and self._site.service.hostname != "localhost"
        answer.set_cookie(name, value, good_s, path=PATH, secure=behind_tls, httponly=True, samesite="lax")

    def _drop(self, answer: Response, name: str) -> None:
        answer.delete_cookie(name, path=PATH, httponly=True, samesite="lax")


def _all_of(folder: Path, did: str) -> bytes:
    """In a thread: months of a busy reader take seconds."""
    return msgspec.json.format(msgspec.json.encode(asyncio.run(told_of(folder, did))), indent=2)


def session_of(request: Request, seals: Seals) -> Session | None:
    """Who is signed in. Browsers send the cookie to PATH and what is below it, and nowhere else."""
    found = seals.open(request.cookies.get(SESSION, ""), Session, SESSION_S)
    return found if isinstance(found, Session) else None


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; of a field that comes twice, the last."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise Sorry(413, "The form is too large", "Open My feed and use the form there.")
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=50)
    return {name: values[-1] for name, values in fields.items()}


def typed_of(wishes: Wishes) -> dict[str, str]:
    """What a form holds that says these wishes: the opposite of `wishes_of`."""
    spoken = {value: word for word, value in YES_NO.items()}
    return {
        "freshness": wishes.freshness,
        "follows": wishes.follows,
        "replies": spoken[wishes.replies],
        "videos": spoken[wishes.videos],
        "languages": ", ".join(wishes.languages),
        "author_max": "" if wishes.author_max is None else str(wishes.author_max),
    }


def wishes_of(form: dict[str, str]) -> Wishes:
    """Raises Sorry for what no form of ours can say, and for languages that nobody speaks."""
    found: dict[str, Any] = {name: form.get(name, "") for name in ("freshness", "follows")}
    if found["freshness"] not in FRESHNESS or found["follows"] not in FOLLOWS:
        raise _odd()
    for name in ("replies", "videos"):
        if form.get(name, "") not in YES_NO:
            raise _odd()
        found[name] = YES_NO[form.get(name, "")]
    author_max = form.get("author_max", "").strip()
    if author_max:
        if not (author_max.isdecimal() and len(author_max) < 4 and 1 <= int(author_max) <= MOST_BY_AUTHOR):
            raise Sorry(400, "Posts by one author", f"Enter a number from 1 to {MOST_BY_AUTHOR}, or leave it empty.")
        found["author_max"] = int(author_max)
    languages = tuple(dict.fromkeys(re.findall(r"[^\s,;]+", form.get("languages", "").lower())))
    unknown = [language for language in languages if number(language) == UNKNOWN]
    if unknown or len(languages) > MAX_LANGUAGES:
        said = f'"{unknown[0][:20]}" is not a known language code. ' if unknown else f"At most {MAX_LANGUAGES}. "
        raise Sorry(400, "Languages", f"{said}Give codes with commas between them, like en, pt, ja.")
    return Wishes(languages=languages, **found)


def _odd() -> Sorry:
    return Sorry(400, "The form can't be read", "Open My feed and use the form there.")
