"""Errors that speak to people: what happened, where, and what to do now."""

from __future__ import annotations


class FeedgenError(Exception):
    """Something the operator should read. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class SettingsError(FeedgenError):
    """A setting is unknown, of the wrong type, or impossible. Raised before anything starts."""


class StoreError(FeedgenError):
    """The data folder can't be used as it is."""


class StoreFull(StoreError):
    """A write failed for want of room or a broken disk. Ingest waits and tries again; nothing was half-written."""


class UpstreamError(FeedgenError):
    """A host we depend on refused us or went away. Never fatal."""
