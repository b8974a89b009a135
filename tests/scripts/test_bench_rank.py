"""The measurements of ranking, quality and attacks run, at tiny sizes, and name what they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scripts.benchmarks import __main__

EVALUATE = """
def evaluate(recommend, name, part, ingest, root):
    import numpy as np
    data = np.load(f"{root}/{name}_{part}.npz")
    ingest(data["user"], data["item"], data["ts"])
    found = recommend(int(data["user"][0]), int(data["ts"][-1]) + 1, 20)
    return {"ndcg@20": len(found) / 20, "recall@20": 1.0, "ms_p50": 0.1}
"""


def figures_of(name: str, **changes: object) -> dict[str, float]:
    benchmark = __main__.find(name)
    return {f.name: float(f.value) for f in benchmark.run({**benchmark.parameters, **changes})}  # type: ignore[dict-item]


def test_rank(tmp_path: Path) -> None:
    found = figures_of("rank", ratings=60_000, seeds=20, lists=10, compare=3, folder=str(tmp_path))
    assert found["rank.ratings"] > 30_000
    kinds = ("list", "cheap", "foryou", "numpy", "sql", "list_10_seeds", "list_200_seeds")
    assert all(0 < found[f"rank.{kind}_cpu_ms_p50"] <= found[f"rank.{kind}_cpu_ms_p99"] for kind in kinds)
    assert found["rank.plain_agreement"] > 0.8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "filled.json"]  # for the next time


def test_quality(tmp_path: Path) -> None:
    (tmp_path / "evaluate.py").write_text(EVALUATE)
    chance = np.random.default_rng(1)
    user, item = chance.integers(0, 30, 3000), chance.integers(0, 200, 3000)
    np.savez(tmp_path / "tiny_dev.npz", user=user, item=item, ts=np.sort(chance.integers(0, 5 * 86_400, 3000)))
    found = figures_of("quality", folder=str(tmp_path), sets="tiny", people=150, days=1.0, readers=5)
    assert {f"quality.simnet_share_{name}" for name in ("default", "foryou", "cheap", "popular")} < set(found)
    seeds = {name: found.pop(name) for name in [*found] if name.startswith("quality.tiny_seeds")}
    ratios = {name: found.pop(name) for name in [*found] if name.startswith("quality.simnet_default_over")}
    assert len(seeds) == 3 and all(1 <= value <= 30 for value in seeds.values())
    assert len(ratios) > 5 and all(0.5 < value < 2 for value in ratios.values())
    assert all(0 < value <= 1 for value in found.values())
    assert {"quality.tiny_ndcg20", "quality.tiny_ndcg20_foryou", "quality.tiny_ndcg20_cheap"} < set(found)


def test_attacks() -> None:
    found = figures_of("attacks", people=200, readers=8, strays=1)
    for way in ("everything_500", "at_once_500", "patiently_500", "patiently_5"):
        assert all(0 <= found[f"attacks.{way}{end}"] <= 1 for end in ("_unbounded", "", "_caught"))
    assert found["attacks.patiently_500"] <= found["attacks.patiently_500_unbounded"]
    assert found["attacks.stray_rare_6_or_more"] <= found["attacks.stray_rare_1_or_more"] <= 1
