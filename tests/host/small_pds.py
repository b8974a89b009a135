"""A PDS with one account, on a real socket, that says what the real one says when something is wrong.

Only what publishing needs. tests/appview runs the same commands against Bluesky's own PDS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from feedgen.core.ids import FEED_NSID
from tests.serve.accounts import Keypair

DID = "did:plc:publisheraaaaaaaaaaaaaaa"
HANDLE = "publisher.example"
PASSWORD = "abcd-efgh-ijkl-mnop"


class SmallPds:
    """`records` are its feed records by key; `asked` has every method; `refuse` answers a method with this instead."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refuse: dict[str, tuple[int, dict[str, str]]] = {}
        self.code = ""  # asked for at login, when it is not empty
        self.scope = "com.atproto.appPass"
        self.key = Keypair()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self._answer({"raw": body})

            def _answer(self, given: dict[str, Any]) -> None:
                url = urlsplit(self.path)
                method = url.path.removeprefix("/xrpc/")
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                outer.asked.append(method)
                status, answer = outer.answer(method, query, given.get("raw", b""), self.headers)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json; charset=utf-8")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> SmallPds:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, method: str, query: dict[str, str], raw: bytes, headers: Any) -> tuple[int, dict[str, Any]]:
        if method in self.refuse:
            return self.refuse[method]
        if method == "com.atproto.server.createSession":
            return self._session(json.loads(raw))
        if method == "com.atproto.identity.resolveHandle":
            known = query["handle"] == HANDLE
            return (200, {"did": DID}) if known else (400, {"error": "InvalidRequest", "message": "Unable to resolve"})
        if method == "com.atproto.repo.getRecord":
            return self._get(query)
        if method == "com.atproto.repo.listRecords":
            listed = [self._one(rkey) for rkey in sorted(self.records)]
            return 200, {"records": listed}
        if headers.get("authorization") not in ("Bearer " + self._token("access"), "Bearer " + self._token("refresh")):
            return 401, {"error": "AuthMissing", "message": "Authentication Required"}
        if method == "com.atproto.server.deleteSession":
            return 200, {}
        if method == "com.atproto.server.getServiceAuth":
            now_s = int(time.time())
            claims = {"iss": DID, "aud": query["aud"], "lxm": query["lxm"], "iat": now_s, "exp": now_s + 60}
            return 200, {"token": self.key.token({**claims, "jti": f"{time.time_ns():x}"})}
        if method == "com.atproto.repo.uploadBlob":
            cid = cid_of(b"\x55", raw)
            self.blobs[cid] = raw
            blob = {"$type": "blob", "ref": {"$link": cid}, "mimeType": headers["content-type"], "size": len(raw)}
            return 200, {"blob": blob}
        return self._write(method, json.loads(raw))

    def _session(self, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if (body["identifier"], body["password"]) != (HANDLE, PASSWORD):
            return 401, {"error": "AuthenticationRequired", "message": "Invalid identifier or password"}
        if self.code and not body.get("authFactorToken"):
            return 401, {"error": "AuthFactorTokenRequired", "message": "A sign in code has been sent to your email"}
        if self.code and body["authFactorToken"] != self.code:
            return 400, {"error": "InvalidToken", "message": "Token is invalid"}
        tokens = {"accessJwt": self._token("access"), "refreshJwt": self._token("refresh")}
        return 200, {"did": DID, "handle": HANDLE, "active": True, **tokens}

    def _token(self, kind: str) -> str:
        claims = {"scope": self.scope, "sub": DID, "kind": kind, "exp": 4_000_000_000}
        parts = ({"alg": "HS256", "typ": "at+jwt"}, claims)
        return (
            ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".AA"
        )

    def _one(self, rkey: str) -> dict[str, Any]:
        value = self.records[rkey]
        cid = cid_of(b"\x71", json.dumps(value, sort_keys=True).encode())
        return {"uri": f"at://{DID}/{FEED_NSID}/{rkey}", "cid": cid, "value": value}

    def _get(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if query["repo"] == DID and query["rkey"] in self.records:
            return 200, self._one(query["rkey"])
        uri = f"at://{query['repo']}/{query['collection']}/{query['rkey']}"
        return 400, {"error": "RecordNotFound", "message": f"Could not locate record: {uri}"}

    def _write(self, method: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        rkey = body["rkey"]
        assert body["repo"] == DID and body["collection"] == FEED_NSID
        now = self._one(rkey)["cid"] if rkey in self.records else None
        if "swapRecord" in body and body["swapRecord"] != now:
            return 400, {"error": "InvalidSwap", "message": f"Record was at {now}"}
        if method == "com.atproto.repo.deleteRecord":
            self.records.pop(rkey, None)
            return 200, {}
        if method == "com.atproto.repo.createRecord" and now is not None:
            return 400, {"error": "InvalidRequest", "message": "There is already a value at key"}
        self.records[rkey] = body["record"]
        one = self._one(rkey)
        return 200, {"uri": one["uri"], "cid": one["cid"], "at": time.time()}


def cid_of(codec: bytes, data: bytes) -> str:
    named = b"\x01" + codec + b"\x12\x20" + hashlib.sha256(data).digest()
    return "b" + base64.b32encode(named).decode().lower().rstrip("=")
