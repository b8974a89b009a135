"""Warming compiles everything that a running graph calls."""

from __future__ import annotations

from numba.core.dispatcher import Dispatcher

from feedgen.graph import ahead, build, bulk, compact, edit, live, view
from feedgen.graph.warm import warm


def test_warming_leaves_no_kernel_uncompiled() -> None:
    warm()
    cold = [
        f"{module.__name__}.{name}"
        for module in (ahead, build, bulk, compact, edit, live, view)
        for name, function in vars(module).items()
        if isinstance(function, Dispatcher)
        and function.py_func.__module__ == module.__name__
        and "inline" not in function.targetoptions  # a helper is compiled with its caller
        and not function.signatures
    ]
    assert cold == []
