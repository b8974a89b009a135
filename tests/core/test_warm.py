import pytest

from feedgen.core import warm

called: list[str] = []


def warmer() -> None:
    called.append("warmer")


def test_nothing_to_warm_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "WARMERS", [])
    warm.warm(lambda name, seconds: pytest.fail("nothing to report"))


def test_warmers_are_found_called_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "WARMERS", [f"{__name__}:warmer"])
    seen: list[str] = []
    warm.warm(lambda name, seconds: seen.append(name))
    assert called == ["warmer"]
    assert seen == [f"{__name__}:warmer"]


def test_every_name_names_a_function() -> None:
    for name in [*warm.WARMERS, "feedgen.core.warm:warm"]:
        assert callable(warm.find(name))
