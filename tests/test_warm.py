"""Warming compiles everything: no process, at any time after installation, should wait for a compiler."""

from __future__ import annotations

import importlib
import pkgutil

from numba.core.dispatcher import Dispatcher

import feedgen
from feedgen.core.warm import warm


def test_warming_leaves_no_kernel_uncompiled() -> None:
    warm(demo=True)
    cold = []
    for info in pkgutil.walk_packages(feedgen.__path__, "feedgen."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, function in vars(module).items():
            if not isinstance(function, Dispatcher) or function.py_func.__module__ != info.name:
                continue
            # A helper is compiled with its caller.
            if "inline" not in function.targetoptions and not function.signatures:
                cold.append(f"{info.name}.{name}")
    assert cold == []
