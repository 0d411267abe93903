"""Kernels made ready for compilers: what they reach, what counts in their hash, and what they must not do."""

from __future__ import annotations

import ast
import itertools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netspec.errors import NetspecError
from netspec.kernels import specialise
from netspec.kernels.cpu import compile_cpu
from netspec.kernels.specialise import prepare

_numbers = itertools.count()


@pytest.fixture
def function(tmp_path: Path) -> Callable[..., Any]:
    """Makes the function ``f`` of a source text; further names are globals beside it."""

    def make(text: str, **names: Any) -> Any:
        path = tmp_path / f"source{next(_numbers)}.py"
        path.write_text("import math\nfrom netspec.plugin import device\n" + text)
        scope = {"__name__": "made", **names}
        exec(compile(path.read_text(), str(path), "exec"), scope)
        return scope["f"]

    return make


def digest(function: Any) -> str:
    return prepare(function, "float32").digest


CHANGES = {
    "literal": ("def f(x): return x + 1.0", "def f(x): return x + 2.0"),
    "constant": ("C = 1\ndef f(x): return x + C", "C = 2\ndef f(x): return x + C"),
    "helper": (
        "@device\ndef h(x): return x + 1\ndef f(x): return h(x)",
        "@device\ndef h(x): return x\ndef f(x): return h(x)",
    ),
    "helper's constant": (
        "C = 1\n@device\ndef h(x): return x + C\ndef f(x): return h(x)",
        "C = 2\n@device\ndef h(x): return x + C\ndef f(x): return h(x)",
    ),
    "default": ("def f(x, n=1): return x + n", "def f(x, n=2): return x + n"),
    "closure": (
        "def make(c):\n    def f(x): return x + c\n    return f\nf = make(1)",
        "def make(c):\n    def f(x): return x + c\n    return f\nf = make(2)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_whatever_a_kernel_reaches_changes_its_hash(function: Any, old: str, new: str) -> None:
    assert digest(function(old)) == digest(function(old))
    assert digest(function(old)) != digest(function(new))


def test_comments_docstrings_and_unreached_names_do_not_change_the_hash(function: Any) -> None:
    one = function("A = 1\ndef f(x):\n    return x + 1.0")
    two = function('A = 2\ndef f(x: int):\n    """Prose."""\n    return x + 1.0  # why')
    assert digest(one) == digest(two)


def test_a_constant_of_another_module_counts(function: Any) -> None:
    digests = set()
    for tile in (16, 32):
        sizes = types.ModuleType("sizes")
        sizes.TILE = tile
        digests.add(digest(function("def f(x): return x + sizes.TILE", sizes=sizes)))
    assert len(digests) == 2


def test_every_element_of_a_table_counts(function: Any) -> None:
    tables = [np.zeros(5000) for _ in range(3)]
    tables[1][2500] = 1.0
    tables[2][0] = 1e-12
    assert len({digest(function("def f(i): return TABLE[i]", TABLE=table)) for table in tables}) == 3


def test_a_local_variable_hides_a_global_of_its_name(function: Any) -> None:
    text = "def scale(x): return x\ndef f(x):\n    scale = 3\n    return x * scale"
    assert compile_cpu(function(text), "float32")(np.float32(2)) == 6


def test_a_helper_may_have_the_name_of_a_builtin(function: Any) -> None:
    text = "@device\ndef round(x): return x + 1\ndef f(x): return round(x)"
    assert compile_cpu(function(text), "float32")(np.float32(2.5)) == 3.5


EXTREMA = {
    "def f(a, b): return max(a, b)": (2, 3, 3),
    "def f(a, b): return min(a, b)": (2, 3, 2),
    "def f(a, b): return max(a, 1.0, b)": (-2, 0, 1),
    "@device\ndef h(a, b): return min(max(a, b), 5)\ndef f(a, b): return h(a, b)": (7, 3, 5),
}


@pytest.mark.parametrize(("text", "numbers"), EXTREMA.items())
def test_max_and_min_pass_nan_on_whichever_argument_it_is(function: Any, text: str, numbers: Any) -> None:
    a, b, expected = map(np.float32, numbers)
    compiled = compile_cpu(function(text), "float32")
    assert compiled(a, b) == expected
    assert np.isnan([compiled(np.float32(np.nan), b), compiled(a, np.float32(np.nan))]).all()


def test_max_and_min_of_whole_numbers_stay_whole(function: Any) -> None:
    compiled = compile_cpu(function("def f(a, b): return max(a, 3) - min(b, 2)"), "float32")
    assert (compiled(7, 5), compiled(-7, -5)) == (5, 8)
    assert str(compiled.nopython_signatures[0].return_type) == "int64"


def test_max_and_min_of_numbers_of_two_kinds_are_of_the_wider_one(function: Any) -> None:
    compiled = compile_cpu(function("def f(a, b): return max(a, b), min(a, b)"), "float32")
    assert compiled(np.int32(-3), np.int64(2**40)) == (2**40, -3)
    assert compiled(np.uint8(200), np.int8(-100)) == (200, -100)
    assert compiled(np.float32(0.5), 1) == (1.0, 0.5)
    assert compiled(True, False) == (True, False)


def test_a_helper_called_max_is_that_helper(function: Any) -> None:
    text = "@device\ndef max(a, b): return a + b\ndef f(a, b): return max(a, b)"
    assert compile_cpu(function(text), "float32")(np.float32(2), np.float32(3)) == 5


@pytest.mark.parametrize("text", ["def f(x): return x * 0.5", "HALF = 0.5\ndef f(x): return x * HALF"])
def test_floats_are_cast_to_the_compute_dtype(function: Any, text: str) -> None:
    for dtype in ("float32", "float64"):
        compiled = compile_cpu(function(text), dtype)
        compiled(np.dtype(dtype).type(1))
        assert str(compiled.nopython_signatures[0].return_type) == dtype


WRONG = {
    "calls g(), which is not marked @device": "def g(x): return x\ndef f(x): return g(x)",
    "f uses 'wrong', which is not defined": "def f(x): return [y for y in (x, wrong)][0]",
    "g calls itself": "@device\ndef g(x): return g(x - 1) if x else x\ndef f(x): return g(x)",
    "a lambda is not compiled: write a function with 'def'": "f = lambda x: x",
}


@pytest.mark.parametrize(("message", "text"), WRONG.items(), ids=WRONG)
def test_what_cannot_be_compiled_is_told(function: Any, message: str, text: str) -> None:
    with pytest.raises(NetspecError) as caught:
        prepare(function(text), "float32")
    assert message in str(caught.value)


NAMED = """
from typing import NamedTuple
class Size(NamedTuple):
    {fields}
@device
def area(size): return size.height * size.width
def f(x, size: Size):
    x[0] = area(size) * size.factor
"""
FIELDS = ("height: int", "width: int", "factor: float")


def test_a_parameter_annotated_with_a_named_tuple_has_its_fields(function: Any) -> None:
    named, x = function(NAMED.format(fields="; ".join(FIELDS))), np.zeros(1, np.float32)
    compile_cpu(named, "float32")(x, (3, 5, np.float32(0.5)))
    assert x[0] == 7.5


def test_the_fields_of_a_named_tuple_count_in_the_hash(function: Any) -> None:
    """A signature knows a tuple's numbers, not their names."""
    texts = [NAMED.format(fields="; ".join(order)) for order in itertools.permutations(FIELDS)]
    assert len({digest(function(text)) for text in texts}) == len(texts)
    assert digest(function(texts[0])) == digest(function(texts[0]))


def test_nodes_are_those_that_ast_walk_gives_in_its_order() -> None:
    tree = ast.parse(Path(specialise.__file__).read_text())
    walked = [node for node in ast.walk(tree) if not isinstance(node, ast.expr_context)]
    assert specialise._nodes(tree) == walked
