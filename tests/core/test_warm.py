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


def test_processes_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is reported once; one that fails in a process of its own fails here, with its reason."""
    monkeypatch.setattr(warm, "WARMERS", ["time:perf_counter", "time:monotonic", "time:time"])
    seen: list[str] = []
    warm.warm(lambda name, seconds: seen.append(name), processes=2)
    assert sorted(seen) == ["time:monotonic", "time:perf_counter", "time:time"]
    monkeypatch.setattr(warm, "WARMERS", ["feedgen.core.ids:is_tid"])
    with pytest.raises(TypeError):
        warm.warm(lambda name, seconds: None, processes=2)


def test_every_name_names_a_function() -> None:
    for name in [*warm.WARMERS, "feedgen.core.warm:warm"]:
        assert callable(warm.find(name))
