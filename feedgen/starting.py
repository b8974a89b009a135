"""Before the first start, kernels are compiled. Meanwhile both addresses, the terminal and the log show the progress.

    compile_first -> a child process runs `feedgen warm`; this one serves a page that reloads itself -> close both

XRPC gets 503 with Retry-After, so Caddy serves its fallback files. Later starts find all machine code and skip this.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Final, TextIO

from starlette.types import Receive, Scope, Send

from feedgen.core.bar import CLEAR, bar
from feedgen.core.settings import Settings
from feedgen.core.warm import LINE_EVERY_S, LOOK_S, Progress, files, is_warm
from feedgen.host.life import Life
from feedgen.host.systemd import Notifier, Unit, public_and_private, sockets_given
from feedgen.host.tailscale import Tailscale
from feedgen.host.tunnel import resolved
from feedgen.serve.http.private import LIVE_PATH
from feedgen.serve.http.server import Server
from feedgen.serve.http.xrpc import error_body

log = logging.getLogger(__name__)

RELOAD_S: Final = 3
STOP_S: Final = 1.0
MAX_ERROR_CHARS: Final = 500
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="{reload}"><title>Starting</title>
<style>body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem }}
progress {{ width: 100%; height: 1.25rem }}</style></head>
<body><h1>Starting</h1><p>The feed compiles its ranking before its first start. This happens once per version.</p>
<progress max="100" value="{percent}">{percent}%</progress><p>{words}</p><p>This page reloads itself.</p></body></html>
"""


class StartingPage:
    """An ASGI application that answers everything with the progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, content_type, body = self._answer(scope)
        headers = [
            (b"content-type", content_type),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"retry-after", str(RELOAD_S).encode()),
            (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, scope: Scope) -> tuple[int, bytes, bytes]:
        words = self._progress.words()
        if scope["path"] == LIVE_PATH:
            return 200, b"text/plain", b"ok\n"
        if b"text/html" in dict(scope["headers"]).get(b"accept", b"") and not scope["path"].startswith("/xrpc/"):
            page = PAGE.format(reload=RELOAD_S, percent=int(100 * self._progress.share), words=html.escape(words))
            return 503, b"text/html; charset=utf-8", page.encode()
        return 503, b"application/json", error_body("NotEnoughResources", f"Starting: compiling, {words}")


def compile_first(settings: Settings, demo: bool = False, stream: TextIO | None = None) -> bool:
    """Compiles what is missing. False when a signal ended it."""
    if is_warm(demo):
        return True
    return asyncio.run(_compile(settings, demo, sys.stderr if stream is None else stream))


async def _compile(settings: Settings, demo: bool, stream: TextIO) -> bool:
    progress = Progress(files(demo), time.monotonic())
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with _served(settings, progress) as unit:
        log.info("compiling the ranking, once per version", extra={"functions": progress.total - progress.done})
        child = await _warming(demo)
        telling = asyncio.create_task(_tell(progress, unit, stream))
        ended, stopped = asyncio.create_task(child.communicate()), asyncio.create_task(stopping.wait())
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (telling, stopped):
            task.cancel()
        if stopping.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await ended
            return False
        if child.returncode:  # the service compiles each kernel at its first use then, and names what fails
            said = (await ended)[0].decode(errors="replace").strip()[-MAX_ERROR_CHARS:]
            log.error("could not compile ahead; pages are slow until it is done: %s", said)
        return True


async def _warming(demo: bool) -> asyncio.subprocess.Process:
    """In a group of its own: it has children, and Ctrl-C is ours to pass on."""
    hidden = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-m", "feedgen", "warm", *(["--demo"] if demo else [])]
    pipe, joined = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    return await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=joined, start_new_session=True)


@contextlib.asynccontextmanager
async def _served(settings: Settings, progress: Progress) -> AsyncIterator[Unit]:
    """The progress on all addresses. systemd's sockets and its notification socket stay for the service."""
    pid, service = os.getpid(), settings.service
    unit = Unit(Notifier.from_environment(dict(os.environ), pid), Life(time.monotonic))
    public, private = public_and_private(sockets_given(dict(os.environ), pid))
    asked = [service.bind, *([service.private_bind] if service.private_bind else [])]
    binds = [*public, *private] or await asyncio.to_thread(lambda: [resolved(bind, Tailscale()) for bind in asked])
    server = Server(StartingPage(progress), [bind for bind in binds if not bind.endswith(":0")])
    await server.start()
    try:
        yield unit
    finally:
        await server.stop(STOP_S)


async def _tell(progress: Progress, unit: Unit, stream: TextIO) -> None:
    """Until cancelled: a bar on a terminal, or a line every ten seconds; systemd gives us more time."""
    told_s = time.monotonic()
    try:
        while True:
            if stream.isatty():
                stream.write(CLEAR + bar("compiling", progress.share, progress.words()))
                stream.flush()
            elif time.monotonic() - told_s >= LINE_EVERY_S:
                told_s = time.monotonic()
                log.info("compiling: %s", progress.words())
            unit.beat(f"compiling: {progress.words()}")
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(progress.look, time.monotonic())
    finally:
        if stream.isatty():
            stream.write(CLEAR)
            stream.flush()
