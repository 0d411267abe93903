"""Elementary functions of kernels for CPUs: how exact they are, and that loops take them in."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from netspec.contract.kernel import device
from netspec.kernels import elementary
from netspec.kernels.cpu import compile_cpu
from netspec.kernels.specialise import prepare
from netspec.registry import layer_types

NAMES = ("exp", "expm1", "log1p", "tanh", "erf")
ENDS = np.float32([0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-40, -1e-40, 88.72, 88.73, -87.4, -103.9, -104.1])


def points(step: int) -> Any:
    """Every ``step``-th float32 of those from 2 ** -120 to 2 ** 20, and their negatives."""
    first, last = np.float32([2.0**-120, 2.0**20]).view(np.int32)
    found = np.arange(first, last, step, np.int32).view(np.float32)
    return np.concatenate([found, -found, ENDS])


@numba.njit(error_model="numpy")
def each(function, x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        y[i] = function(x[i])


@pytest.mark.parametrize("name", NAMES)
def test_no_more_than_two_units_in_the_last_place(name: str) -> None:
    """Against numpy and math in float64; numbers too small for float32's precision are told by its smallest one."""
    x = points(1009)
    y = mapped(name, x)
    exact = np.vectorize(math.erf)(x.astype(np.float64)) if name == "erf" else None
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        exact = getattr(np, name)(x.astype(np.float64)) if exact is None else exact
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    unit = np.ldexp(1.0, np.maximum(np.frexp(np.abs(exact[finite]))[1] - 24, -149))
    assert (np.abs(y[finite] - exact[finite]) / unit).max() < 2
    np.testing.assert_array_equal(y[~finite], rounded[~finite])


def mapped(name: str, x: Any) -> Any:
    function, y = getattr(elementary, name), np.empty_like(x)
    each(numba.njit(lambda one: function(one)), x, y)
    return y


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["haswell", "x86-64"])
def test_other_processors_do_too(cpu: str) -> None:
    """With AVX2, and with neither that nor fused products."""
    names = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    test = f"{Path(__file__)}::{test_no_more_than_two_units_in_the_last_place.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and f"{len(NAMES)} passed" in done.stdout, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_doubles_and_whole_numbers_have_the_library_s(name: str) -> None:
    x = np.random.default_rng(0).normal(0, 3, 100)
    x = np.abs(x) if name == "log1p" else x
    usual = np.array([getattr(math, name)(one) for one in x])
    np.testing.assert_allclose(mapped(name, x), usual, rtol=1e-15)
    function = getattr(elementary, name)
    assert numba.njit(lambda one: function(one))(2) == getattr(math, name)(2)


def test_a_loop_over_costs_is_vectorised() -> None:
    (kernel,) = (one for one in layer_types()["sigmoid_loss"].kernels if one.function.__name__ == "judge_apart_cpu")
    two, one = np.zeros((2, 8), np.float32), np.zeros(2, np.int64)
    given = {"x": two, "target": two, "prediction": two, "rows": two, "terms": two, "counters": one}
    values = (given.get(name, numba.float32(1.0)) for name in kernel.args)
    kinds = tuple(numba.typeof(value) for value in (0, 2, *values))
    assert "x float>" in optimised(compile_cpu(kernel.function, "float32").py_func, kinds)


@pytest.mark.parametrize("name", ["elu", "gelu", "logistic", "silu", "tanh"])
def test_loops_over_them_are_vectorised(name: str) -> None:
    for kernel in layer_types()[name].kernels:
        if "cpu" in kernel.backends:
            dispatcher = compile_cpu(kernel.function, "float32")
            arrays = [numba.float32(1.0) if one == "alpha" else np.zeros(8, np.float32) for one in kernel.args]
            kinds = tuple(numba.typeof(one) for one in (0, 8, *arrays))
            assert "x float>" in optimised(dispatcher.py_func, kinds)


def optimised(function: Any, kinds: Any) -> str:
    """LLVM's code of a kernel, compiled anew: what comes from the cache has none."""
    from netspec.kernels.cpu import _OPTIONS

    made = numba.njit(**_OPTIONS)(function)
    made.compile(kinds)
    text = next(iter(made.inspect_llvm().values()))
    body = text[text.index("define") :]
    return str(body[: body.index("\n}\n")])


@device
def by_module(x):  # type: ignore[no-untyped-def]
    return math.exp(x)


@device
def hidden(x, math):  # type: ignore[no-untyped-def]
    return math.exp(x)


def test_what_is_meant_by_a_name_decides() -> None:
    from math import exp

    @device
    def by_name(x):  # type: ignore[no-untyped-def]
        return exp(x)

    for function in (by_module, by_name):
        assert elementary.exp in prepare(function, "float32", vectorised=True).names.values()
        assert elementary.exp not in prepare(function, "float32").names.values()
        assert elementary.exp not in prepare(function, "float64", vectorised=True).names.values()
    assert elementary.exp not in prepare(hidden, "float32", vectorised=True).names.values()


def test_one_that_no_kernel_takes_is_not_made(tmp_path: Path) -> None:
    code = (
        "from netspec.kernels import elementary; from netspec.kernels.cpu import compile_cpu\n"
        "from netspec.registry import layer_types\n"
        "for name in ('relu', 'tanh'):\n"
        "    for one in layer_types()[name].kernels:\n"
        "        if 'cpu' in one.backends: compile_cpu(one.function, 'float32')\n"
        "print(sorted({'exp', 'expm1', 'log1p', 'tanh', 'erf'} & {*vars(elementary)}))"
    )
    env = {**os.environ, "NETSPEC_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "['tanh']\n", done.stderr


def test_there_is_no_other() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sinh'"):
        elementary.sinh  # noqa: B018
