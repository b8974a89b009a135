from pathlib import Path

import pytest

from feedgen.core import jit, warm

called: list[str] = []


def warmer() -> None:
    called.append("warmer")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An own cache folder, and no kernels of ours in it."""
    monkeypatch.setattr(jit, "_folder_of", lambda file: tmp_path / Path(file).stem)
    return tmp_path


def test_warmers_are_found_and_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "WARMERS", [f"{__name__}:warmer"])
    assert not warm.is_warm()
    warm.warm()
    assert called == ["warmer"]
    assert warm.is_warm() and not warm.is_warm(demo=True)


def test_what_fails_in_a_process_of_its_own_fails_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "WARMERS", ["time:perf_counter", "time:monotonic", "time:time"])
    warm.warm(processes=2)
    assert warm.is_warm()
    monkeypatch.setattr(warm, "WARMERS", ["feedgen.core.ids:is_tid"])
    with pytest.raises(TypeError):
        warm.warm(processes=2)


def test_a_part_that_failed_is_not_called_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "WARMERS", ["feedgen.core.ids:is_tid"])
    with pytest.raises(TypeError):
        warm.warm()
    assert not warm.is_warm()


def test_progress_counts_functions_and_estimates_the_rest(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "kernels.py"
    source.write_text("".join(f"@njit\ndef f{i}(): ...\n" for i in range(10)) + "@melted\ndef g(): ...\n")
    code = cache / "kernels"
    code.mkdir()

    def compiled(i: int) -> None:
        (code / f"kernels.f{i}-1.py311.nbi").touch()

    compiled(0)
    progress = warm.Progress([source], now_s=100.0)
    assert progress.words() == "1 of 10 functions"  # an earlier start was interrupted
    compiled(1)
    compiled(2)
    progress.look(now_s=120.0)
    assert progress.words() == "3 of 10 functions, about 70 s to go"
    assert progress.share == 0.3


def test_every_name_names_a_function() -> None:
    for name in [*warm.WARMERS, "feedgen.core.warm:warm"]:
        assert callable(warm.find(name))
