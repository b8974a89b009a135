"""Sockets that listen: what an address in the settings means, and how connections are taken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Callable
from typing import Any, Final

from feedgen.core.errors import FeedgenError

BACKLOG: Final = 1024
ACCEPT_AT_ONCE: Final = 100
ACCEPT_PAUSE_S: Final = 1.0  # when no more files may be open

log = logging.getLogger(__name__)


class Listener:
    """Takes connections by the dozen. uvloop takes one each time that it comes around, however many knock; when it has
    much to do, and callers who gave up come back with new connections, it never gets to the last of them.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop, self._sock, self._protocol = loop, sock, protocol
        self._making: set[asyncio.Task[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        sock.listen(BACKLOG)
        self._listen()

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                accepted, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no more files may be open
                log.error("can't take connections: %s", error)
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(ACCEPT_PAUSE_S, self._listen)
                return
            accepted.setblocking(False)
            making = self._loop.create_task(self._make(accepted))
            self._making.add(making)
            making.add_done_callback(self._making.discard)

    async def _make(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):  # gone already
            await self._loop.connect_accepted_socket(self._protocol, accepted)


def bound(bind: str, setting: str) -> socket.socket:
    try:
        if bind.startswith("unix:"):
            return _bind_unix(bind[5:])
        sock = socket.socket(fileno=os.dup(int(bind[5:]))) if bind.startswith("fd://") else _bind_tcp(bind)
    except (OSError, ValueError) as error:
        raise FeedgenError(
            f"Can't listen on {bind}: {error}", f"Is another service using it? See {setting}."
        ) from error
    sock.setblocking(False)
    return sock


def _bind_tcp(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, int(port)))
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(path: str) -> socket.socket:
    """A socket file left by a process that is gone is removed; one that answers is not."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode):
                if _is_answered(path):
                    raise OSError("another process is listening there")
                os.unlink(path)
        sock.bind(path)
        os.chmod(path, 0o660)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def address_of(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name if isinstance(name, str) else os.fsdecode(name)}"
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
