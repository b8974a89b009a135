"""Training in a process: what it gives, and that nothing it does can hurt the service."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from feedgen.learn import by_hand
from feedgen.learn.child import MAX_BYTES, MAX_CPU_S
from feedgen.learn.files import FOLDER, MODEL, Examples
from feedgen.learn.model import LINEAR, read
from feedgen.learn.process import TrainingFailed, train_apart
from feedgen.learn.training import train
from tests.learn.made import blocks


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_by_hand_a_model_is_trained_that_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = Examples(tmp_path / FOLDER)
    for block in blocks(12, age=1.0):
        examples.add(block)
    assert by_hand.main(tmp_path, enabled=True) == 0
    assert f"Serving: {LINEAR}. It beats the formula by" in capsys.readouterr().out
    model, trouble = read(tmp_path / FOLDER / MODEL)
    assert not trouble
    assert model == train(examples.read(), None)[0], "the same rows give the same model in another process"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('the disk is on fire')", "the disk is on fire"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", f"more than {MAX_CPU_S} s of CPU"),
        (
            "import resource as r; r.setrlimit(r.RLIMIT_CPU, (1, 1))\nwhile True: pass",
            f"more than {MAX_CPU_S} s of CPU",
        ),
        ("print('no report')", "gave no report"),
        (
            f"from feedgen.learn.child import limit; limit(); bytearray({MAX_BYTES})",
            f"it needed more than {MAX_BYTES >> 20} MB",
        ),
    ],
)
async def test_what_goes_wrong_is_said(tmp_path: Path, code: str, words: str) -> None:
    with pytest.raises(TrainingFailed, match=words):
        await train_apart(tmp_path, python(code))


async def test_a_training_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    code = "import os, sys, time; open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(TrainingFailed, match="longer than 2 s"):
        await train_apart(tmp_path, python(code), wall_s=2.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="can't start"):
        await train_apart(tmp_path, (str(tmp_path / "nothing"),))
