"""What the process tells about itself: one line an event, on stderr.

Modules write `log = logging.getLogger(__name__)` and `log.info("listening", extra={"bind": "127.0.0.1:8090"})`: a short
event and fields beside it (not named like an attribute of LogRecord: no `name`, `args`, `module`, `message`).
People read it as text on a terminal; elsewhere each line is JSON. Unless the operator asked for `debug`, DIDs are
struck out of the finished line, so that no caller, library or traceback can put a person into the log.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections import deque
from typing import Final, TextIO

NO_DID: Final = "did:***"
MAX_LINE_CHARS: Final = 20_000

_DID = re.compile(r"\bdid(?::|%3[aA])[a-z0-9]+(?::|%3[aA])[\w.:%-]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE = re.compile(r"[\w./:@%+\[\]*-]+")
_COLOURS: Final = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m", "DEBUG": "\033[2m"}


def setup(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Sends our loggers from `level` on, and everybody else's warnings, to stderr. May be called again."""
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    text = format == "text" or (format == "auto" and terminal)
    handler.setFormatter(TextFormatter(colour=terminal) if text else JsonFormatter())
    number = logging.getLevelNamesMapping()[level.upper()]
    if number > logging.DEBUG:
        handler.setFormatter(WithoutDids(handler.formatter))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell of every request at info; we tell of our own.
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger("feedgen").setLevel(number)
    logging.captureWarnings(True)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What was given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def without_dids(text: str) -> str:
    return _DID.sub(NO_DID, text)


class WithoutDids(logging.Formatter):
    """Another formatter's line, with every DID struck out."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return without_dids(self._inner.format(record))


class TextFormatter(logging.Formatter):
    """`02:33:49 warning jetstream: stalled host=... silent_s=30`; a traceback follows on its own lines."""

    def __init__(self, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        where = record.name.rpartition(".")[2]
        fields = "".join(f" {name}={_bare(value)}" for name, value in fields_of(record).items())
        line = f"{clock} {record.levelname.lower():<7} {where}: {_one_line(record.getMessage())}{fields}"
        line = line[:MAX_LINE_CHARS]
        if self._colour and record.levelname in _COLOURS:
            line = f"{_COLOURS[record.levelname]}{line}\033[0m"
        if record.exc_info:
            trace = _CONTROL.sub("?", self.formatException(record.exc_info))
            line += "".join(f"\n    {row}" for row in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, where, event, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        whole, ms = divmod(int(record.created * 1000), 1000)
        row: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{ms:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage()[:MAX_LINE_CHARS],
        }
        for name, value in fields_of(record).items():
            row[name if name not in row else f"{name}_"] = _jsonable(value)
        if record.exc_info:
            # The end of a traceback says the most.
            row["traceback"] = self.formatException(record.exc_info)[-MAX_LINE_CHARS:]
        return json.dumps(row)


def _jsonable(value: object) -> object:
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)[:MAX_LINE_CHARS]


def _bare(value: object) -> str:
    """A field's value: as it is when it is one word, else quoted."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _one_line(text: str) -> str:
    # What comes from outside may try to write lines, or to colour the terminal.
    return _CONTROL.sub("?", text.replace("\n", " "))


class Recent(logging.Handler):
    """The last warnings, in memory, for the status page; without DIDs, like all lines."""

    def __init__(self, keep: int = 200) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[tuple[int, str, str, str]] = deque(maxlen=keep)

    def emit(self, record: logging.LogRecord) -> None:
        fields = "".join(f" {name}={_bare(value)}" for name, value in fields_of(record).items())
        words = without_dids(_one_line(record.getMessage()) + fields)
        self._lines.append((int(record.created), record.levelname.lower(), record.name.rpartition(".")[2], words))

    def take(self) -> list[tuple[int, str, str, str]]:
        """(when, level, where, words) since the last time, oldest first."""
        taken = []
        while self._lines:
            taken.append(self._lines.popleft())
        return taken
