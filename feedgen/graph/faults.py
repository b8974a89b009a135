"""Bad pages of mapped files: SIGBUS marks the file as broken instead of ending the process.

The kernel sends SIGBUS when a mapped page can't be read (a bad sector), or can't get room for a write (a full
copy-on-write file system). Unhandled, it kills the process, at each start again. The handler puts a page of our own in
the place of the bad one, with what can still be read, else with zeros, and tells the area's owner, who makes the file
again from the truth. Compiled code checks every number that it reads from a sidecar, so zeros are safe.

The fault happens at one load or store of a file's page, never inside an allocator or while a lock of the interpreter
is taken half, so Python code can run in the handler as it can in any callback from C.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

_ADDRESS_AT: Final = 16  # of si_addr in siginfo_t, on 64-bit Linux
_SA_SIGINFO: Final = 4
_MAP_FIXED: Final = 0x10
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Action(ctypes.Structure):
    """struct sigaction of glibc and musl on 64-bit Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class Area:
    """A mapped file, from `start` on, as long as somebody holds this. `on_fault`, a method, is called once, in the
    thread that met the first bad page.
    """

    def __init__(self, start: int, length: int, fd: int, on_fault: Callable[[], None]) -> None:
        self.start, self.end, self.fd = start, start + length, fd
        self.broken = False
        self._on_fault = weakref.WeakMethod(on_fault)
        self._replaced: set[int] = set()
        _install()
        _areas.append(weakref.ref(self, _areas.remove))

    def close(self) -> None:
        """Before the file is unmapped."""
        self.start = self.end = 0

    def _take_over(self, address: int) -> bool:
        page = address // mmap.PAGESIZE * mmap.PAGESIZE
        if page in self._replaced:
            return True  # another thread met it, too
        try:
            content = os.pread(self.fd, mmap.PAGESIZE, page - self.start)
        except OSError:
            content = b""
        protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        if _libc.mmap(page, mmap.PAGESIZE, protection, flags, -1, 0) != page:
            return False
        ctypes.memmove(page, content, len(content))
        self._replaced.add(page)
        if not self.broken:
            self.broken = True
            tell = self._on_fault()
            if tell is not None:
                tell()
        return True


_areas: Final[list[weakref.ref[Area]]] = []
_before = _Action()
_libc: Any = None
_installing = threading.Lock()


def _on_bus_error(number: int, info: int, context: int) -> None:
    address = ctypes.c_uint64.from_address(info + _ADDRESS_AT).value
    for reference in list(_areas):
        area = reference()
        if area is not None and area.start <= address < area.end and area._take_over(address):
            return
    # Not ours: the instruction is tried again, and meets what was there before us.
    _libc.sigaction(signal.SIGBUS, ctypes.byref(_before), None)


_handler: Final = _Handler(_on_bus_error)


def _install() -> None:
    global _libc
    with _installing:
        if _libc is not None or not sys.platform.startswith("linux"):
            return
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.mmap.restype = ctypes.c_void_p
        _libc.mmap.argtypes = (
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_longlong,
        )  # fmt: skip
        action = _Action(handler=ctypes.cast(_handler, ctypes.c_void_p).value, flags=_SA_SIGINFO)
        _libc.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(_before))
