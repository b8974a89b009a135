"""Runs benchmarks by name, prints their figures, and writes them as JSON."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import pkgutil
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

import scripts.benchmarks
from scripts.benchmarks import Figure, Parameter, Params

VERSIONS_OF = (
    "feedgen",
    "numpy",
    "numba",
    "apsw",
    "msgspec",
    "hypercorn",
    "starlette",
    "picows",
    "websockets",
    "zstandard",
)


LIBRARIES = {"replay"}  # what an evaluation from elsewhere imports, too


@dataclass(frozen=True)
class Benchmark:
    name: str
    summary: str
    parameters: dict[str, Parameter]
    run: Callable[[Params], Iterable[Figure]]


def names() -> list[str]:
    """Every module here that does not begin with an underscore, and has something to run."""
    found = pkgutil.iter_modules(scripts.benchmarks.__path__)
    return sorted(m.name for m in found if not m.ispkg and not m.name.startswith("_") and m.name not in LIBRARIES)


def find(name: str) -> Benchmark:
    module = importlib.import_module(f"scripts.benchmarks.{name}")
    summary = (module.__doc__ or "").strip().splitlines() or [""]
    return Benchmark(name, summary[0], dict(getattr(module, "PARAMETERS", {})), module.run)


def parsed(text: str, default: Parameter) -> Parameter:
    """A parameter's new value, of its default's type; ValueError when it is not one."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    return text if isinstance(default, str) else type(default)(text)


def parameters(chosen: list[Benchmark], changes: tuple[str, ...]) -> dict[str, dict[str, Parameter]]:
    """Each benchmark's parameters, with the changes of the command line."""
    made = {b.name: dict(b.parameters) for b in chosen}
    for change in changes:
        name, _, text = change.partition("=")
        users = [b.name for b in chosen if name in b.parameters]
        if not users:
            known = sorted({p for b in chosen for p in b.parameters})
            raise click.BadParameter(f"{name} is not a parameter here. Known: {', '.join(known) or 'none'}.")
        for user in users:
            try:
                made[user][name] = parsed(text, made[user][name])
            except ValueError:
                raise click.BadParameter(f"{change}: not like the default, {made[user][name]!r}.") from None
    return made


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = ""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        models = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = models[0] if models else ""
    memory = int(meminfo.read_text().split()[1]) * 1024 if meminfo.exists() else 0
    return {
        "cpu": cpu or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory,
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in VERSIONS_OF:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found | ({"commit": commit.stdout.strip()} if commit.returncode == 0 else {})


def amount(value: float) -> str:
    """Enough digits to compare, few enough to read."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def run_one(benchmark: Benchmark, params: Params, figures: dict[str, Figure]) -> bool:
    """Prints and collects one benchmark's figures; False when it failed."""
    click.echo(f"\n{benchmark.name}: {benchmark.summary}")
    if params:
        click.echo("  with " + ", ".join(f"{name}={value}" for name, value in params.items()))
    start = time.perf_counter()
    try:
        for figure in benchmark.run(params):
            if figure.name in figures or not figure.unit:
                raise ValueError(f"figure {figure.name}: its name must be unique, and it needs a unit")
            figures[figure.name] = figure
            click.echo(f"  {figure.name:<40} {amount(figure.value):>14} {figure.unit:<12} {figure.note}".rstrip())
    except Exception as error:
        # The others still have something to say; the exit code remembers.
        click.echo(f"  {benchmark.name} failed: {type(error).__name__}: {error}", err=True)
        return False
    click.echo(f"  ({time.perf_counter() - start:.1f} s)")
    return True


def choose(wanted: tuple[str, ...]) -> list[Benchmark]:
    known = names()
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise click.BadParameter(f"{name} is not a benchmark.{meant} Known: {', '.join(known) or 'none yet'}.")
    return [find(name) for name in wanted or known]


def describe(chosen: list[Benchmark]) -> None:
    for benchmark in chosen:
        settings = ", ".join(f"{name}={value}" for name, value in benchmark.parameters.items())
        click.echo(f"{benchmark.name:<12} {benchmark.summary}" + (f"\n{'':<12} --set {settings}" if settings else ""))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("wanted", nargs=-1, metavar="[NAME]...")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also write JSON."
)
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Another value for a parameter. May be repeated."
)
@click.option("--list", "only_list", is_flag=True, help="Say what there is, run nothing.")
def main(wanted: tuple[str, ...], json_path: Path | None, changes: tuple[str, ...], only_list: bool) -> None:
    """Run benchmarks, all when none is named. Quiet machines give better figures."""
    chosen = choose(wanted)
    if only_list or not wanted:
        describe(chosen)
    if only_list:
        return
    params = parameters(chosen, changes)
    figures: dict[str, Figure] = {}
    where = machine()
    good = [run_one(benchmark, params[benchmark.name], figures) for benchmark in chosen]
    if json_path is not None:
        report = {
            "figures": {name: {"value": f.value, "unit": f.unit} for name, f in figures.items()},
            "machine": where,
            "versions": versions(),
            "parameters": params,
        }
        json_path.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main(prog_name="scripts/bench")
