"""Numbers of languages are stored in day files: they never change."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core import languages


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        ("pt-BR", "pt"),
        ("PT_br", "pt"),
        ("zh-Hant-TW", "zh"),
        ("eng", "en"),
        ("iw", "he"),
        ("tok", "tok"),
        ("", ""),
        ("-", ""),
        ("english", ""),
        ("x" * 10_000, ""),
        ("e\0n", ""),
    ],
)
def test_tags(tag: str, code: str) -> None:
    assert languages.code(languages.number(tag)) == code


def test_the_table_only_grows_at_its_end() -> None:
    """A changed number would turn the languages of stored posts into others."""
    first = " ".join(languages.CODES[:232])
    assert (
        hashlib.sha256(first.encode()).hexdigest() == "1df6147c67f24f4849ec62d9bec82d6f83d6c4b75c4ac19ede1279cbc575f50a"
    )
    assert len(set(languages.CODES)) == len(languages.CODES) <= 255


def test_every_code_has_its_number() -> None:
    assert [languages.number(code) for code in languages.CODES] == list(range(1, len(languages.CODES) + 1))
    assert languages.code(0) == languages.code(255) == languages.code(-1) == ""


@given(st.text())
def test_any_text(tag: str) -> None:
    assert 0 <= languages.number(tag) <= 255
