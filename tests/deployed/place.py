"""The service where it lives: our Caddyfile and the egress on the VPS, the process at home, callers outside.

The VPS is set up by what `feedgen vps` wrote, the process is started with the socket that its unit holds.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx

from feedgen.core.settings import Settings
from feedgen.host.vps import Ends, write_folder
from feedgen.simnet.process import SimnetProcess
from feedgen.simnet.tokens import LIFETIME_S
from tests.deployed.hosts import APPVIEW, HOME, VPS, VPS_PUBLIC, Host, Hosts
from tests.host.as_systemd import Activated
from tests.process import METHOD, PUBLISHER, of_network

SITE: Final = "feed.example.com"
SKELETON: Final = f"/xrpc/{METHOD}"
SEND: Final = "app.bsky.feed.sendInteractions"
INTERACTIONS: Final = f"/xrpc/{SEND}"
DESCRIBE: Final = "/xrpc/app.bsky.feed.describeFeedGenerator"
FEED: Final = f"at://{PUBLISHER}/app.bsky.feed.generator/for-you"
APPVIEW_LEAVES_S: Final = 5.0
PDS_LEAVES_S: Final = 10.0  # from interactions, which it sends once
AUDIENCE: Final = f"did:web:{SITE}"


class Vps:
    """Caddy and the egress, as install.sh puts them there."""

    def __init__(self, host: Host, folder: Path, settings: Settings) -> None:
        self.host, self.folder = host, folder
        made, root = folder / "made", folder / "root"
        write_folder(settings, made, Ends(HOME, VPS), "http://127.0.0.1:1")
        env = os.environ | {"DESTDIR": str(root)}
        subprocess.run(["sh", str(made / "install.sh")], env=env, check=True, capture_output=True)
        self._caddyfile = root / "etc/caddy/Caddyfile"
        self._program = root / "usr/local/lib/feedgen/feedgen-egress.pyz"
        self.fallback = root / "var/lib/feedgen-fallback"
        unit = (root / "etc/systemd/system/caddy.service.d/feedgen.conf").read_text()
        values = dict(line.removeprefix("Environment=").split("=", 1) for line in unit.splitlines() if "=" in line)
        # What the machine differs in: no public certificate authority, and other folders.
        self._env = (
            os.environ
            | values
            | {"FEEDGEN_FALLBACK": str(self.fallback), "FEEDGEN_CADDY_OPTIONS": "local_certs\nskip_install_trust"}
            | dict.fromkeys(("XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"), str(folder))
        )
        self._processes: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        with self.host.entered(), (self.folder / "vps.log").open("a") as log:
            caddy = [os.path.join(sys.prefix, "bin", "caddy"), "run", "--config", str(self._caddyfile)]
            egress = [sys.executable, "-I", str(self._program), "--bind", f"{VPS}:8118", "--allow", HOME]
            for command in (
                [*caddy, "--adapter", "caddyfile"],
                [*egress, "--fallback", str(self.fallback), "--log", "127.0.0.1:8119"],
            ):
                self._processes.append(subprocess.Popen(command, env=self._env, stderr=log, stdout=log, text=True))

    def kill(self) -> None:
        """As when the provider pulls the plug."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    @property
    def authority(self) -> Path:
        return self.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"


class Home:
    """The process, with the socket that feedgen.socket holds over its restarts."""

    def __init__(self, host: Host, folder: Path, network: SimnetProcess, **settings: object) -> None:
        self.host, self._folder, self._network, self._settings = host, folder, network, settings
        with host.entered():
            self._public = socket.create_server((HOME, 8090), backlog=1024)
        self.process: Activated | None = None

    def start(self, launcher: type[Activated] = Activated) -> None:
        with self.host.entered():
            self.process = launcher(self._folder, self._public, **self._settings, **of_network(self._network))
            self.process.said("answering")

    def wait_for(self, look: Callable[[Activated], Any], what: str) -> Any:
        process = self.process
        assert process is not None
        with self.host.entered():
            return process.wait_for(lambda: look(process), what)

    def stop(self) -> None:
        if self.process is not None:
            code, log = self.process.stop()[0], self.process.log
            self.kill()
            assert code == 0, log[-5:]

    def kill(self) -> None:
        if self.process is not None:
            self.process.__exit__()
            self.process = None

    def close(self) -> None:
        self.kill()
        self._public.close()


class Place:
    def __init__(self, folder: Path) -> None:
        self.hosts = Hosts()
        self.vps: Vps | None = None
        self._network: SimnetProcess | None = None
        try:
            self._set_up(folder)
        except BaseException:
            self.close()
            raise

    def _set_up(self, folder: Path) -> None:
        with self.hosts.home.entered():
            self._network = SimnetProcess("--people", "240", "--days", "0.5", "--wait", "--rate", "5")
        (folder / "home").mkdir()
        (folder / "vps").mkdir()
        settings = Settings()
        settings = type(settings)(service=type(settings.service)(hostname=SITE, publisher_did=PUBLISHER))
        self.home = Home(
            self.hosts.home,
            folder / "home",
            self._network,
            service__trusted_proxies=VPS,
            fallback__url=f"http://{VPS}:8118",
            web__public=True,
        )
        self.vps = Vps(self.hosts.vps, folder / "vps", settings)
        self.vps.start()
        self.home.start()
        self.home.wait_for(lambda process: process.health()["fresh"], "the network's past")

    @property
    def tunnel(self) -> Any:
        assert self.hosts.tunnel is not None
        return self.hosts.tunnel

    def token(self, person: int, lxm: str = METHOD) -> str:
        assert self._network is not None
        with self.hosts.home.entered():
            return self._network.token(person, AUDIENCE, lxm)

    @contextmanager
    def caller(self, address: str = APPVIEW, **options: Any) -> Iterator[Caller]:
        """Somebody outside, at this address; for this thread only."""
        assert self.vps is not None
        with self.hosts.client.entered():
            trusted = ssl.create_default_context(cafile=str(self.vps.authority))
            transport = httpx.HTTPTransport(verify=trusted, local_address=address)
            with httpx.Client(
                transport=transport, base_url=f"https://{VPS_PUBLIC}", headers={"host": SITE}, timeout=30, **options
            ) as client:
                yield Caller(client)

    def fallback_is_there(self) -> None:
        """The home pushes it some seconds after its start."""
        assert self.vps is not None
        file = self.vps.fallback / f"{SKELETON}.json"[1:]
        self.home.wait_for(lambda _: file.exists(), "the fallback on the VPS")

    def until_answered(self, timeout_s: float = 30) -> None:
        """Until a page with posts comes from the process at home."""
        deadline_s, token = time.monotonic() + timeout_s, self.token(1)
        while time.monotonic() < deadline_s:
            with suppress(httpx.HTTPError, OSError), self.caller() as caller:
                answer = caller.page(token)
                if answer.status == 200 and answer.feed and not answer.is_from_files:
                    return
            time.sleep(0.1)
        raise AssertionError("no page from home")

    def close(self) -> None:
        if self.vps is not None:
            self.vps.kill()
            self.home.close()
        if self._network is not None:
            self._network.stop()
        self.hosts.remove()


class Answer:
    def __init__(self, response: httpx.Response, took_s: float) -> None:
        self.response, self.took_s = response, took_s
        self.status = response.status_code

    @property
    def is_from_files(self) -> bool:
        """From the VPS's files, which stand in for the home."""
        headers = self.response.headers
        return headers.get("cache-control") == "no-store" and "authorization" not in headers.get("vary", "")

    @property
    def feed(self) -> list[Any]:
        found: list[Any] = self.response.json()["feed"]
        return found


class Caller:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, method: str, path: str, token: str = "", **options: Any) -> Answer:
        headers = options.pop("headers", {}) | ({"authorization": f"Bearer {token}"} if token else {})
        began_s = time.monotonic()
        response = self._client.request(method, path, headers=headers, extensions={"sni_hostname": SITE}, **options)
        return Answer(response, time.monotonic() - began_s)

    def page(self, token: str = "", **query: Any) -> Answer:
        return self.ask("GET", SKELETON, token, params={"feed": FEED, "limit": 10, **query})

    def tell(self, token: str, *items: dict[str, Any]) -> Answer:
        return self.ask("POST", INTERACTIONS, token, content=json.dumps({"interactions": list(items), "feed": FEED}))


class Crowd:
    """Apps that don't stop asking: of ten requests six pages, three interactions, one other, on kept connections."""

    def __init__(self, place: Place, people: range, n: int = 4) -> None:
        self._place, self._over = place, threading.Event()
        self._people = itertools.cycle(people)
        self._read: dict[int, tuple[str, float]] = {}
        self.outcomes: Counter[str] = Counter()
        self.slowest_s: dict[str, float] = {}
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(n)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            with self._place.caller() as caller:
                for number in itertools.cycle(range(10)):
                    if self._over.is_set():
                        break
                    try:
                        outcome = self._one(caller, number)
                    except httpx.HTTPError as error:
                        outcome = type(error).__name__
                    self.outcomes[outcome] += 1

    def _reading_token(self, person: int) -> str:
        """As the AppView sends it: used until it is about to expire."""
        token, made_s = self._read.get(person, ("", 0.0))
        if time.monotonic() - made_s > LIFETIME_S / 2:
            token = self._place.token(person)
            self._read[person] = token, time.monotonic()
        return token

    def _one(self, caller: Caller, number: int) -> str:
        person = next(self._people)
        if number in (2, 5, 8):
            seen = {
                "item": "at://did:plc:a/app.bsky.feed.post/3kaaaaaaaaa2a",
                "event": "app.bsky.feed.defs#interactionSeen",
            }
            # Each token is good for one call: apps have a new one made each time.
            answer, name = caller.tell(self._place.token(person, SEND), seen), "told"
        elif number == 9:
            answer, name = caller.ask("GET", DESCRIBE), "described"
        else:
            answer = caller.page(self._reading_token(person))
            name = "files" if answer.is_from_files else "page"
            if answer.status == 200 and not answer.feed:
                name = "empty page"
        self.slowest_s[name] = max(self.slowest_s.get(name, 0.0), answer.took_s)
        return name if answer.status == 200 else f"{name} {answer.status}"

    def until(self, n: int, timeout_s: float = 120) -> None:
        """Until so many more were answered."""
        goal, deadline_s = sum(self.outcomes.values()) + n, time.monotonic() + timeout_s
        while sum(self.outcomes.values()) < goal and time.monotonic() < deadline_s:
            time.sleep(0.05)

    def stop(self) -> Counter[str]:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        return self.outcomes
