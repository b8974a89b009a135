"""The publisher's account at its PDS, and every way in which logging in and writing there can fail, in plain words.

The password goes from where it was found to the PDS and nowhere else: not into a setting, an error or a log.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import click

from feedgen.core.errors import FeedgenError
from feedgen.core.ids import FEED_NSID

PASSWORD_ENV: Final = "FEEDGEN_APP_PASSWORD"
TIMEOUT_S: Final = 30.0
MAX_SAID_CHARS: Final = 200
APP_PASSWORD: Final = "Make an app password in the app: Settings, Privacy and security, App passwords."
TWO_FACTORS: Final = "AuthFactorTokenRequired"

# What a PDS calls an error: what it means, and what to do.
_MEANS: Final[dict[str, tuple[str, str]]] = {
    "AuthenticationRequired": ("The handle or the password is wrong.", APP_PASSWORD),
    TWO_FACTORS: (
        "This account asks for a code that was sent by mail, because this is its main password.",
        f"{APP_PASSWORD} It needs no code. Or type the command in a terminal, where you are asked for the code.",
    ),
    "InvalidToken": ("The code or the session is not accepted (any more).", "Type the command again."),
    "ExpiredToken": ("The session or the code has expired.", "Type the command again."),
    "AccountTakedown": (
        "This account was taken down.",
        "Look for a mail from its host, or publish as another account.",
    ),
    "AccountDeactivated": ("This account is deactivated.", "Activate it in the app first."),
    "InvalidSwap": (
        "Somebody else changed the record just now.",
        "Look at it in the app, then type the command again.",
    ),
    "RateLimitExceeded": ("The PDS had too many tries from here.", "Wait some minutes, then type the command again."),
}


class AccountError(FeedgenError):
    """The account's PDS refused, or can't be reached."""


class Published(NamedTuple):
    """A record as it stands in the repository."""

    cid: str
    value: dict[str, Any]


class Records:
    """The feed records of an account, as anybody can read them."""

    def __init__(self, pds: str, did: str, timeout_s: float = TIMEOUT_S) -> None:
        from atproto_client import Client
        from atproto_client.request import Request

        self._client = Client(base_url=pds.rstrip("/"), request=Request(timeout=timeout_s))
        self._pds, self.did = pds, did

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.request.close()

    def record(self, rkey: str) -> Published | None:
        from atproto_client.exceptions import BadRequestError

        try:
            found = self._client.com.atproto.repo.get_record({"repo": self.did, "collection": FEED_NSID, "rkey": rkey})
        except BadRequestError as error:
            if _error_name(error) == "RecordNotFound" or "could not locate record" in str(error).lower():
                return None
            raise self._error(error) from None
        except Exception as error:
            raise self._error(error) from None
        return Published(found.cid or "", _plain(found.value))

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except FeedgenError:
            raise
        except Exception as error:
            # From None: the SDK's own words would show what was sent.
            raise self._error(error) from None

    def _error(self, error: Exception) -> AccountError:
        import httpx
        from atproto_client.exceptions import RequestErrorBase
        from atproto_core.exceptions import AtProtocolError

        if isinstance(error, httpx.HTTPError) or (isinstance(error, RequestErrorBase) and error.response is None):
            return AccountError(
                f"{self._pds} can't be reached.", "Is the internet there? Is [publish] pds the right address?"
            )
        if isinstance(error, RequestErrorBase) and error.response is not None:
            name = _error_name(error) or ("RateLimitExceeded" if error.response.status_code == 429 else "")
            if name in _MEANS:
                return AccountError(*_MEANS[name])
            said = getattr(error.response.content, "message", None) or f"status {error.response.status_code}"
            return AccountError(
                f"{self._pds} refused: {' '.join(str(said).split())[:MAX_SAID_CHARS]}",
                "Is [publish] pds the account's own PDS, or https://bsky.social? If so, try again later.",
            )
        if isinstance(error, AtProtocolError | ValueError):
            return AccountError(f"{self._pds} gave an answer that is no PDS's.", "Is [publish] pds the right address?")
        raise error


class Account(Records):
    """Logged in while the `with` lasts."""

    def __init__(
        self, pds: str, handle: str, password: str, ask_code: Callable[[], str] | None, timeout_s: float = TIMEOUT_S
    ) -> None:
        super().__init__(pds, "", timeout_s)
        try:
            self._log_in(handle, password, ask_code)
        except BaseException:
            self._client.request.close()
            raise
        session = self._client._session
        assert session is not None
        self.did, self.handle, self.pds = session.did, session.handle, session.pds_endpoint or pds

    def _log_in(self, handle: str, password: str, ask_code: Callable[[], str] | None) -> None:
        try:
            with self._plainly():
                self._client.login(handle, password, fetch_bsky_profile=False)
        except AccountError as error:
            if error.message != _MEANS[TWO_FACTORS][0] or ask_code is None:
                raise
            with self._plainly():
                self._client.login(handle, password, auth_factor_token=ask_code().strip(), fetch_bsky_profile=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(AccountError), self._plainly():
            self._client.com.atproto.server.delete_session(
                headers=self._client._get_refresh_auth_headers(), ignore_session_check=True
            )
        self._client.request.close()

    @property
    def by_app_password(self) -> bool:
        """Whether this is a password that can be taken back without touching the account."""
        session = self._client._session
        scope = getattr(session.access_jwt_payload, "scope", None) if session is not None else None
        return scope != "com.atproto.access"

    def records(self) -> dict[str, Published]:
        """All feed records, by record key."""
        with self._plainly():
            listed = self._client.com.atproto.repo.list_records(
                {"repo": self.did, "collection": FEED_NSID, "limit": 100}
            )
            return {one.uri.rpartition("/")[2]: Published(one.cid, _plain(one.value)) for one in listed.records}

    def put(self, rkey: str, value: dict[str, Any], over: Published | None) -> None:
        """Fails when the record is no longer what it was."""
        record = {"repo": self.did, "collection": FEED_NSID, "rkey": rkey, "record": value}
        with self._plainly():
            if over is None:
                self._client.com.atproto.repo.create_record(record)
            else:
                self._client.com.atproto.repo.put_record({**record, "swapRecord": over.cid})

    def delete(self, rkey: str, over: Published) -> None:
        with self._plainly():
            self._client.com.atproto.repo.delete_record(
                {"repo": self.did, "collection": FEED_NSID, "rkey": rkey, "swapRecord": over.cid}
            )

    def upload(self, data: bytes, kind: str) -> dict[str, Any]:
        """What a record says to mean these bytes."""
        with self._plainly():
            blob = self._client.com.atproto.repo.upload_blob(data, headers={"Content-Type": kind}).blob
            return _plain(blob)

    def service_token(self, aud: str, method: str) -> str:
        """What the account's PDS signs when its reader asks a service for something."""
        with self._plainly():
            answer = self._client.com.atproto.server.get_service_auth({"aud": aud, "lxm": method})
            return str(answer.token)


def _error_name(error: Any) -> str:
    name = getattr(error.response.content, "error", None) if error.response is not None else None
    return name if isinstance(name, str) else ""


def _plain(model: Any) -> dict[str, Any]:
    """A record as JSON would have it, whatever the SDK made of it."""
    import json

    from atproto_client.models.utils import get_model_as_json

    found: dict[str, Any] = json.loads(get_model_as_json(model))
    return found


# --- where the handle and the password come from


def find_handle(handle: str) -> str:
    if handle:
        return handle
    if not sys.stdin.isatty():
        raise FeedgenError("Whose account is it?", 'Set handle = "you.bsky.social" under [publish].')
    return str(click.prompt("Handle of the account", err=True)).strip().removeprefix("@")


def password_given(file: Path | None) -> str:
    """From the file or the environment; empty when there is none."""
    return _password_in(file) if file is not None else os.environ.pop(PASSWORD_ENV, "").strip()


def find_password(file: Path | None) -> str:
    """What was given, or what a person types."""
    if password := password_given(file):
        return password
    if not sys.stdin.isatty():
        raise FeedgenError(
            "Nobody is here to be asked for the app password.",
            f"Give --password-file FILE, or set {PASSWORD_ENV}. {APP_PASSWORD}",
        )
    click.echo(APP_PASSWORD, err=True)
    return str(click.prompt("App password", hide_input=True, err=True)).strip()


def find_code() -> Callable[[], str] | None:
    """Asks for the code that came by mail; None when nobody is there."""
    if not sys.stdin.isatty():
        return None
    return lambda: str(click.prompt("The code that was sent to you by mail", err=True))


def _password_in(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise FeedgenError(f"can't read the password in {file}: {why}", "Give the path of a text file.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise FeedgenError(f"others may read the password in {file}.", f"Type: chmod 600 {file}")
    if not password or "\n" in password:
        raise FeedgenError(f"{file} should have the password in its only line.", "Write it there, and nothing else.")
    return password
