"""The tunnel between two hosts: two TUN devices and this process, which passes packets on. Started by `hosts.py`.

    python tunnel.py VPS_NAMESPACE HOME_NAMESPACE

Each line of stdin says how it is from now on: {"latency_s": 0.1, "loss": 0.02, "is_up": true}; "done" is the answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
LIBC = ctypes.CDLL(None, use_errno=True)
MAX_PACKETS = 20_000  # on their way; more are lost, as in a queue of a router


def device(namespace: str) -> int:
    """A TUN device `tunnel0` in that namespace."""
    fd = os.open(namespace, os.O_RDONLY)
    if LIBC.setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), f"setns {namespace}")
    os.close(fd)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"tunnel0", IFF_TUN | IFF_NO_PI))
    return tun


def main() -> None:
    ends = [device(namespace) for namespace in sys.argv[1:]]
    selector = selectors.DefaultSelector()
    for end in (*ends, sys.stdin.fileno()):
        selector.register(end, selectors.EVENT_READ)
    latency_s, loss, is_up = 0.0, 0.0, True
    dice, number = random.Random(1), 0
    pending: list[tuple[float, int, int, bytes]] = []

    def send(end: int, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # its interface is down: lost
            os.write(end, packet)

    while True:
        wait_s = max(0.0, pending[0][0] - time.monotonic()) if pending else None
        for key, _ in selector.select(wait_s):
            if key.fd == sys.stdin.fileno():
                line = sys.stdin.readline()
                if not line:
                    return
                said = json.loads(line)
                latency_s, loss, is_up = said["latency_s"], said["loss"], said["is_up"]
                print("done", flush=True)
                continue
            other = ends[1 - ends.index(key.fd)]
            for _ in range(64):
                try:
                    packet = os.read(key.fd, 65_536)
                except BlockingIOError:
                    break
                except OSError:
                    break  # the interface is not up yet
                if not is_up or (loss and dice.random() < loss) or len(pending) >= MAX_PACKETS:
                    continue
                if latency_s:
                    number += 1
                    heapq.heappush(pending, (time.monotonic() + latency_s, number, other, packet))
                else:
                    send(other, packet)
        now_s = time.monotonic()
        while pending and pending[0][0] <= now_s:
            _, _, end, packet = heapq.heappop(pending)
            if is_up:
                send(end, packet)


if __name__ == "__main__":
    main()
