"""What is measured at the moment that somebody asks: the process itself, and how far it has come."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path
from typing import Final

from feedgen import __version__
from feedgen.core.telemetry import Counter, Gauge

BUILD = Gauge("feedgen_build_info", "Always 1; the labels say what runs.", "version", "python")
NEWEST = Gauge(
    "feedgen_ingest_newest_event_timestamp_seconds",
    "When the newest event in the store was witnessed, in Unix time; 0 before the first.",
)
PEOPLE = Gauge("feedgen_store_people", "People who have a number.")
MEMORY = Gauge("process_resident_memory_bytes", "Memory in use, mapped files of the store included.")
STARTED = Gauge("process_start_time_seconds", "When the process started, in Unix time.")
FILES = Gauge("process_open_fds", "Open files and sockets.")
MAX_FILES = Gauge("process_max_fds", "How many files and sockets may be open.")
CPU = Counter("process_cpu_seconds_total", "CPU time used, by user code and system calls.")

_STARTED_S: Final = time.time()
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def measure_process() -> None:
    BUILD.set(1, __version__, platform.python_version())
    STARTED.set(_STARTED_S)
    MAX_FILES.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    used = resource.getrusage(resource.RUSAGE_SELF)
    CPU.add(max(0.0, used.ru_utime + used.ru_stime - CPU.value()))
    proc = Path("/proc/self")
    if proc.is_dir():
        MEMORY.set(int((proc / "statm").read_text().split()[1]) * _PAGE_BYTES)
        FILES.set(len(os.listdir(proc / "fd")))


def measure_progress(newest_us: int, people: int) -> None:
    NEWEST.set(newest_us / 1e6)
    PEOPLE.set(people)
