"""The archive's API key: where it is found, and where it may be sent. It is never logged or put into an error."""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from feedgen.core.errors import FeedgenError

CREDENTIAL: Final = "archive_key"  # systemd: LoadCredential=archive_key:/etc/feedgen/archive_key
MAX_KEY_BYTES: Final = 4_096


class KeyTrouble(FeedgenError):
    """The key can't be read, or must not be sent there."""


def find_key(setting: str, file: str, environment: Mapping[str, str] = os.environ) -> str:
    """The setting (file or environment), the file that `archive_key_file` names, or the systemd credential; else ""."""
    if setting:
        return _checked(setting, "[jetstream] archive_key")
    if file:
        return _read(Path(file), private=True)
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    credential = Path(folder) / CREDENTIAL
    return _read(credential, private=False) if folder and credential.is_file() else ""


def _read(path: Path, private: bool) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise KeyTrouble(
            f"Can't read the archive key in {path}: {error.strerror}", "Check [jetstream] archive_key_file."
        ) from None
    if private and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyTrouble(f"Others may read the archive key in {path}.", f"Type: chmod 600 {path}")
    return _checked(data.decode("latin-1").strip(), str(path))


def _checked(key: str, where: str) -> str:
    if not key or len(key) > MAX_KEY_BYTES or not all("!" <= letter <= "~" for letter in key):
        raise KeyTrouble(f"The archive key in {where} is not one line of plain letters.", "Copy it there once more.")
    return key


def may_send(url: str) -> bool:
    """Encrypted, or to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
