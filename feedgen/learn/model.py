"""A trained scorer as a file: JSON with a checksum, at most a megabyte. The same scorer gives the same bytes."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from feedgen.core.parameters import table
from feedgen.learn.files import replace_file
from feedgen.rank.features import FEATURES, NAMES
from feedgen.rank.scorer import NODES, SPLITS, Scorer, Trees

VERSION: Final = 1
MAX_BYTES: Final = 1 << 20
FORMULA, LINEAR, TREES = "formula", "linear", "linear and trees"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` of `requests` lists made it; `gain` in NDCG@20 over the formula, and its standard error, are of the newest
    fifth, which it was not trained on."""

    version: int = VERSION
    features: tuple[str, ...] = NAMES
    key: tuple[float, ...]
    weights: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    tree_features: tuple[int, ...] = ()
    tree_thresholds: tuple[float, ...] = ()
    tree_values: tuple[float, ...] = ()
    rows: int = 0
    requests: int = 0
    until_us: int = 0  # the newest like that it knows
    gain: float = 0.0
    error: float = 0.0

    @property
    def kind(self) -> str:
        return TREES if self.tree_features else LINEAR

    def scorer(self) -> Scorer:
        return Scorer(
            self.key,
            np.array(self.weights),
            np.array(self.lows),
            np.array(self.highs),
            Trees(np.array(self.tree_features, np.int32), np.array(self.tree_thresholds), np.array(self.tree_values)),
        )

    def trouble(self) -> str:
        """Why it can't serve; empty: it can."""
        if self.version != VERSION or self.features != NAMES or len(self.key) != len(table()):
            return "it was made by another version of feedgen"
        trees = len(self.tree_features) // SPLITS
        sizes = {len(self.weights), len(self.lows), len(self.highs)}
        whole = (len(self.tree_features), len(self.tree_thresholds), len(self.tree_values))
        numbers = (*self.weights, *self.lows, *self.highs, *self.tree_thresholds, *self.tree_values)
        if sizes != {FEATURES} or whole != (trees * SPLITS, trees * SPLITS, trees * NODES):
            return "its parts do not fit together"
        if not all(map(np.isfinite, numbers)) or not all(0 <= one < FEATURES for one in self.tree_features):
            return "its numbers are out of range"
        return ""


def _signed(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).hexdigest().encode()


def save(model: Model, path: Path) -> None:
    text = msgspec.json.encode(model)
    if len(text) > MAX_BYTES:
        raise ValueError(f"the model has {len(text):,} bytes, more than {MAX_BYTES:,}")
    replace_file(path, text + b"\n" + _signed(text) + b"\n")


def read(path: Path) -> tuple[Model | None, str]:
    """(the model, why there is none). Nothing is said of a file that is not there."""
    try:
        with path.open("rb") as file:
            text, _, signature = file.read(MAX_BYTES + 64).partition(b"\n")
        if signature.strip() != _signed(text):
            return None, "the file is damaged"
        model = msgspec.json.decode(text, type=Model)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"the file can't be read: {error.strerror}"
    except msgspec.MsgspecError as error:
        return None, f"the file can't be understood: {error}"
    trouble = model.trouble()
    return (None, trouble) if trouble else (model, "")
