"""The world around one `feedgen run`, on loopback: a network to hear, a directory, the publisher's PDS, a front with a
certificate as Caddy has one, and programs called `systemctl` and `tailscale`."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import json
import shlex
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from feedgen.simnet.process import SimnetProcess
from tests.host.small_pds import DID, HANDLE, SmallPds
from tests.process import Feedgen
from tests.serve.accounts import document

HOSTNAME = "feed.example.com"
SERVICE = f"did:web:{HOSTNAME}"
FEEDS = ("for-you", "videos-for-you", "popular")


class Site:
    """Answers each path with JSON from a table. `date_s` is how wrong its clock is."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table, self.date_s = table, 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = outer.table.get(self.path.partition("?")[0])
                data = json.dumps(found).encode()
                self.send_response(200 if found is not None else 404)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return email.utils.formatdate(time.time() + outer.date_s, usegmt=True)

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class Authority:
    """Issues certificates that only its own file makes trusted."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the tests' authority")])
        self._cert = self._issue(self._name, self._key, 365, "", authority=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._cert.public_bytes(serialization.Encoding.PEM))

    def context(self, hostname: str, days: float = 60) -> ssl.SSLContext:
        """For a server: a certificate of that name, which ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname)])
        cert = self._issue(name, key, days, hostname)
        path = self._folder / f"{hostname}-{days}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _issue(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: float, hostname: str, authority: bool = False
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        key_id = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=30))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False)
        )
        if authority:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            made = made.add_extension(key_id, critical=False).add_extension(usage, critical=True)
        if hostname:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        return made.sign(self._key, hashes.SHA256())


class TlsFront:
    """Passes bytes on, as Caddy does on the VPS, and says who called. `upstream`, and whether it believes what callers
    say of their address (`gullible`), may be changed while it runs.
    """

    def __init__(self, context: ssl.SSLContext, upstream: str, host: str = "127.0.0.1") -> None:
        self.context, self.upstream, self.gullible = context, upstream, False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        self._ended = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> TlsFront:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with contextlib.suppress(OSError), socket.create_connection(self._listening.getsockname()[:2]):
            """Wakes the thread that accepts."""
        self._thread.join(10)
        self._listening.close()

    def _accept(self) -> None:
        while not self._ended:
            plain, _ = self._listening.accept()
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _forwarded(self, peer: str, lines: list[bytes]) -> list[bytes]:
        claimed = [line for line in lines if line.lower().startswith(b"x-forwarded-for:")]
        if claimed and self.gullible:
            return lines
        return [*(line for line in lines if line not in claimed), f"X-Forwarded-For: {peer}".encode()]

    def _serve(self, plain: socket.socket) -> None:
        peer = str(plain.getpeername()[0])
        host, _, port = self.upstream.rpartition(":")
        with contextlib.suppress(OSError), plain, self.context.wrap_socket(plain, server_side=True) as secure:
            secure.settimeout(60)
            request = b""
            while b"\r\n\r\n" not in request:
                data = secure.recv(65536)
                if not data:
                    return
                request += data
            # One request a connection: what comes back ends when the service closes.
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            lines = self._forwarded(peer, lines)
            with socket.create_connection((host, int(port)), 60) as behind:
                behind.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
                while data := behind.recv(65536):
                    secure.sendall(data)


class Home:
    """Everything, healthy. `words` are the options of a command that looks at it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stack = folder, contextlib.ExitStack()

    def __enter__(self) -> Home:
        with contextlib.ExitStack() as self.stack:
            self._start()
            self.stack = self.stack.pop_all()  # all is up: it ends with the block
        return self

    def _start(self) -> None:
        enter = self.stack.enter_context
        self.network = enter(SimnetProcess("--people", "80", "--days", "0.2", "--wait", "--rate", "40"))
        self.pds = enter(SmallPds())
        about = document(DID, self.pds.key.method(DID))
        about["service"][0]["serviceEndpoint"] = self.pds.url
        self.directory = enter(Site({f"/{DID}": about, "/_health": {"version": "1"}}))
        self.settings: dict[str, object] = {
            "store.dir": self.folder / "data",
            "store.retention_days": 2,
            "service.hostname": HOSTNAME,
            "service.publisher_did": DID,
            "jetstream.urls": ",".join(self.network.urls.jetstream),
            "identity.plc_url": self.directory.url,
            "appview.url": self.directory.url,
            "labels.enabled": "false",
            "tunnel.kind": "tailscale",
            "tunnel.vps": "vps",
            "publish.pds": self.pds.url,
            "publish.handle": HANDLE,
        }
        self.feedgen = enter(Feedgen(self.folder, **self.settings))
        self.feedgen.said("answering")
        self.feedgen.wait_for(lambda: self.feedgen.health()["fresh"], "the network to be heard")
        self.settings["service.bind"] = self.feedgen.url.removeprefix("http://")
        self.authority = Authority(self.folder)
        self.front = enter(TlsFront(self.authority.context(HOSTNAME), str(self.settings["service.bind"])))
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.systemctl()
        self.tailscale()

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def given(self, **changes: object) -> list[str]:
        settings = self.settings | {name.replace("__", "."): value for name, value in changes.items()}
        return [f"{name}={value}" for name, value in settings.items()]

    def systemctl(self, **units: dict[str, str]) -> None:
        """A `systemctl` that says this of units, whose dots and dashes are underscores."""
        running = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success"}
        told = {
            "feedgen_service": running | {"UnitFileState": "enabled", "NRestarts": "0", "StatusText": "live"},
            "feedgen_backup_timer": running,
            "feedgen_verify_timer": running,
        } | units
        cases = [
            f"{name.replace('_', '?')}) printf '%s\\n' {' '.join(shlex.quote(f'{k}={v}') for k, v in fields.items())};;"
            for name, fields in told.items()
        ]
        self._program("systemctl", ['case "$3" in', *cases, "*) echo LoadState=not-found;;", "esac"])

    def tailscale(self, ping: str = "pong from vps (100.64.0.2) via 203.0.113.9:41641 in 12ms", **this: Any) -> None:
        status = {
            "BackendState": this.pop("BackendState", "Running"),
            "Self": {"HostName": "home", "TailscaleIPs": ["100.64.0.7"], "KeyExpiry": "2099-01-01T00:00:00Z"} | this,
        }
        lines = [
            'case "$1" in',
            f"status) echo {shlex.quote(json.dumps(status))};;",
            f"ping) echo {shlex.quote(ping)};;",
        ]
        self._program("tailscale", [*lines, "esac"])

    def _program(self, name: str, lines: list[str]) -> None:
        path = self.bin / name
        path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
        path.chmod(0o755)


def published(pds: SmallPds) -> None:
    """The records as `feedgen publish` writes them with the default settings."""
    from feedgen.core.settings import Settings
    from feedgen.host.publish import looks

    for look in looks(Settings()):
        record = {"$type": "app.bsky.feed.generator", "createdAt": "2026-01-01T00:00:00.000Z"}
        pds.records[look.feed] = record | look.fields(SERVICE)


@contextlib.contextmanager
def some_home(folder: Path) -> Iterator[Home]:
    with Home(folder) as home:
        published(home.pds)
        yield home
