"""Mistakes in kernels for CPUs, of methods, and of files: each is told once, with its line.

The layers are those of plugins/wrong_on_cpus.py, wrong_sums.py and wrong_hand_overs.py.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_tools import netspec
from places import PLUGINS
from told_lines import assert_told, layers_of

from netspec.check import run, subject
from netspec.check.suite import Result
from netspec.cli.layer import _watched_suite
from netspec.device.gpus import finds_compiler
from netspec.machine.marks import MarksFile
from netspec.registry import load_plugin

FILE = "wrong_on_cpus"
ON_CPUS = {
    "cpu_reads_outside": ("indices", "x[i + 1] is outside the array 'x': index 240, where 0 to 239 are inside"),
    "cpu_writes_outside": ("indices", "y[i + 1] is outside the array 'y': index 240, where"),
    "cpu_far_outside": ("indices", "is outside the array 'y': index 10000000000, where"),
    "cpu_wraps_round": ("indices", "x[i - 1] is outside the array 'x': index -1, where"),
    "cpu_helper_outside": ("indices", "values[place + 1] is outside the array 'values': index 240, where"),
    "cpu_literal_outside": ("indices", "row[1000] is outside the array 'row': index 1000, where 0 to 119 are inside"),
    "cpu_large": ("sizes", "y[stop] is outside the array 'y': index"),
    "cpu_second_block": ("sizes", "elements): it is not written"),
    "cpu_odd_groups": ("sizes", "y[0, 0, 0, 4] is nan, expected a finite number (60 of 300 elements): it is not wri"),
    "cpu_allocates": ("indices", "np.empty(stop - start, x.dtype): forward_cpu allocates memory in each call"),
    "cpu_allocates_by_arithmetic": ("indices", "2 * x[start:stop]: forward_cpu allocates memory in each call"),
    "cpu_prints": ("calls", "forward_cpu prints"),
    "cpu_random": ("calls", "forward_cpu calls np.random.random(), whose numbers depend on who asked before"),
    "cpu_changes_input": ("indices", "forward_cpu changes 'x', which it does not name among what it writes"),
    "cpu_adds": ("written", "d_x[0, 0, 0, 0] is nan, expected a finite number (240 of 240 elements)"),
    "cpu_beyond_its_block": ("team", "and in another one, which a team may run at once: write from start to stop"),
    "cpu_shared_scratch": ("team", "writes scratch[0] in the call for positions"),
    "cpu_parameter_of_the_batch": ("constancy", "parameter 'w' is (2, 4) in training and (4, 4) with twice the batch"),
    "cpu_parameter_in_training": ("constancy", "parameter 'w' is (4,) in training and not there in eval"),
    "cpu_flops_of_an_image": ("constancy", "flops().forward is 120 for 2 images, and 120 for 4"),
    "cpu_asked_twice": ("constancy", "scalars() gives 'many' otherwise when asked twice"),
    "cpu_word": ("gradients", "but the difference quotient of forward is"),
    "cpu_flag": ("gradients", "(double: False; inputs"),
    "cpu_hard_coded": ("gradients", "(factor: 3.25; inputs"),
    "cpu_no_backward": ("all_outputs", "no backward kernel for cpu writes 'd_x': mark one @backward(\"cpu\""),
    "cuda_no_backward": ("all_outputs", "no backward kernel for cuda writes 'd_x': mark one @backward(\"cuda\""),
}

OF_SUMS = {
    "sum_of_elements": ("marks", "for an element of an array like (2, 5, 6, 4), and it is (4,); per_channel"),
    "sum_without_channels": ("marks", "takes 'gain' for an element of an array like (2, 5, 6, 4), and it is (4,)"),
    "sum_misspelt": ("all_outputs", "parameter 'gian' is no tensor, attribute or scalar of layer type 'sum_misspelt'"),
    "sum_of_two": ("indices", "cannot be compiled for CPUs: one number is taken for several: a function gives as many"),
    "sum_of_pixels": ("gradients", "but the difference quotient of forward is"),
    "sum_of_ones": ("gradients", "d_x[0, 1, 0, 2] is"),
    "state_in_evaluation": ("state", "'next_mean' is written in eval: mark phases=('train',) what writes it,"),
    "state_never_renewed": ("all_outputs", "no forward kernel for cpu writes 'next_mean'"),
    "state_shape": ("marks", "takes 'mean' for a number of each of 4 channels, and it is (5, 6, 4)"),
    "row_of_channels": ("all_outputs", "parameter 'along' is no tensor, attribute or scalar"),
    "row_sign": ("gradients", "but the difference quotient of forward is"),
    "row_constant_width": ("gradients", "but the difference quotient of forward is"),
    "row_lambda": ("indices", "a lambda is not compiled: write a function with 'def'"),
    "loss_of_sum": ("gradients", "but the difference quotient of forward is"),
    "loss_of_filling": ("valid_rows", "rows from 4 on are not valid and must be 0"),
    "loss_counts_numbers": ("valid_rows", "the report's count is 28 where 4 rows are valid"),
    "loss_of_target": ("gradients", "d_target["),
}
OF_HAND_OVERS = {
    "saved_in_evaluation": ("all_outputs", "no forward kernel for cpu writes 'slope'"),
    "saved_half": ("written", "slope[0, 0, 0, 0] is nan, expected a finite number (118 of 240 elements)"),
    "saved_in_workspace": ("written", "no kernel writes it, or scratch memory is read before it is written"),
    "saved_written_back": ("indices", "backward_cpu changes 'slope', which it does not name among what it writes"),
    "in_place_reads_input": ("in_place", "backward reads 'x', which y has overwritten"),
    "roll_itself": ("gradients", "'d_x' is written by backward_roll_cpu"),
    "two_writers": ("gradients", "but the difference quotient of forward is"),
    "swapped_gradients": ("gradients", "but the difference quotient of forward is"),
    "transposed_product": ("gradients", "but the difference quotient of forward is"),
    "unknown_word": ("marks", "is marked when 'mode' is 'squares', which it never is: it is one of ['square', 'cube']"),
    "unknown_attribute": ("marks", "is marked when 'mode' is 'square', which is no attribute of the layer"),
    "variant_unchosen": ("marks", 'which nothing chooses on cpu: prefer = {"cpu": ("fast",)} says so, best first'),
    "variant_rounds": ("variants", "the variant 'fast' differs from plain float64"),
    "variant_in_fours": ("team", "it depends on how a pass is cut into blocks"),
    "wide_output": ("shapes", "output 'y' is float64: numbers are float32, or stored as an input is, x.dtype"),
    "listed_scalar": ("marks", "scalars() gives 'factors' as list: numbers and tuples of numbers can be given"),
}
OF_FILES = {FILE: ON_CPUS, "wrong_sums": OF_SUMS, "wrong_hand_overs": OF_HAND_OVERS}


@pytest.fixture(scope="module", autouse=True)
def layers() -> None:
    """They are known while these tests run."""
    for name in OF_FILES:
        load_plugin(PLUGINS / f"{name}.py")


def failures(layer_type: str) -> list[Result]:
    """What the whole suite finds."""
    return [result for result in run(layer_type) if result.status == "failed"]


@pytest.mark.parametrize(("file", "layer_type"), [(file, one) for file, layers in OF_FILES.items() for one in layers])
def test_a_mistake_is_told_once_with_its_line(file: str, layer_type: str) -> None:
    assert_told(file, layer_type, *OF_FILES[file][layer_type])


@pytest.mark.skipif(not finds_compiler(), reason="the CUDA compiler is not installed")
def test_double_precision_in_a_cuda_kernel_is_told() -> None:
    assert_told(FILE, "cuda_double", "cuda_float64", "forward_cuda computes in float64 on GPUs (")


def test_every_layer_of_the_files_is_run() -> None:
    for file, tried in OF_FILES.items():
        assert sorted(layers_of(file)) == sorted([*tried, *(["cuda_double"] if file == FILE else [])])


def test_a_backend_that_is_asked_for_must_have_kernels() -> None:
    (failed,) = (result for result in run("cpu_changes_input", ("cuda",)) if result.status == "failed")
    assert failed.name == "all_outputs" and "the layer has no kernels for cuda: mark some" in failed.message


def test_a_backend_that_is_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    from netspec.kernels.numba_cuda import cuda

    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(subject, "finds_compiler", lambda: False)
    subject.gpu.cache_clear()
    results = {result.name: result for result in run("cuda_double", ("cuda",))}
    assert results["cuda"].status == "failed" and "pip install 'netspec[cuda13]'" in results["cuda"].message
    assert {result.name for result in run("cuda_double") if result.status == "failed"} == set()
    subject.gpu.cache_clear()


SOURCE = '''
"""A layer."""
{imports}
from netspec.plugin import Layer, Tensor, backward, forward, register


@register("{name}")
class Own(Layer):
    """y = x"""

    {extra}

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        i = start
        while i < stop:
            y[i] = x[i]
            i += {step}

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = dy[i]
'''


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file like SOURCE."""

    def write(name: str, imports: str = "", step: str = "1", extra: str = "") -> Path:
        file = tmp_path / f"{name}.py"
        file.write_text(SOURCE.format(name=name, imports=imports, step=step, extra=extra))
        return file

    return write


def test_numba_imported_at_the_top_is_told(source: Callable[..., Path], tmp_path: Path) -> None:
    file = source("own_numba", imports="from numba import njit")
    load_plugin(file)
    (failed,) = failures("own_numba")
    assert failed.name == "imports" and f"{file}:3: imports numba when the file is loaded" in failed.message


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets time pass only while the suite's process does what a pattern says: no machine is too slow for that."""

    def at(pattern: str) -> None:
        doing, clock = "", itertools.count()

        class Marks(MarksFile):
            def read(self) -> tuple[int, str]:
                nonlocal doing
                count, doing = super().read()
                return count, doing

        def monotonic() -> int:
            return next(clock) if re.match(pattern, doing) else 0

        monkeypatch.setattr(_watched_suite, "MarksFile", Marks)
        monkeypatch.setattr(_watched_suite, "time", SimpleNamespace(monotonic=monotonic))

    return at


KERNEL = r"forward_cpu \(.*own_endless.py:\d+\) on cpu:0"
ENDLESS = "def params(self, x):\n        mark(lambda: 'the shapes')\n        while True: pass"


@pytest.mark.parametrize(
    ("name", "options", "at", "check", "words"),
    [
        ("own_endless", {"step": "0 if x[0] < 99 else 1"}, KERNEL, "indices", f"^{KERNEL}.* not ended within 4 s"),
        (
            "own_rule",
            {"imports": "from netspec.machine.marks import mark", "extra": ENDLESS},
            "the shapes",
            "shapes",
            r"own_rule.py:\d+: the shapes: it has not ended within 4 s",
        ),
        (
            "own_death",
            {"imports": "import os, signal", "extra": "def params(self, x): os.kill(os.getpid(), signal.SIGKILL)"},
            "never",
            "shapes",
            "^a method of the layer: the process has ended of SIGKILL",
        ),
    ],
)
def test_what_never_ends_or_ends_the_process_is_a_failure(
    source: Callable[..., Path],
    stuck: Callable[[str], None],
    name: str,
    options: dict[str, str],
    at: str,
    check: str,
    words: str,
) -> None:
    """The types after it are checked all the same."""
    file = source(name, **options)
    page = file.with_suffix(".html")
    stuck(at)
    options_given = ("--time-limit", "4", "--backend", "cpu", "--html", page, "--json")
    said = netspec("layers", "check", file, "flatten", *options_given)
    results = json.loads(said.out)
    (failed,) = (result for result in results if result["status"] == "failed")
    assert said.code == 1 and (failed["type"], failed["check"]) == (name, check)
    assert re.search(words, failed["message"]), failed
    assert "passed" in {result["status"] for result in results if result["type"] == "flatten"}
    assert f'<h2 id="{name}">' in page.read_text() and failed["check"] in page.read_text()


def test_a_process_that_never_starts_is_a_failure(
    stuck: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start has a minute, whatever the limit."""
    monkeypatch.setattr(_watched_suite, "_START", "import signal; signal.pause()")
    monkeypatch.setattr(_watched_suite, "_POLL_S", 0.001)
    stuck("")
    (failed,) = _watched_suite.watched(["flatten"], None, 4)
    assert (failed.name, failed.status) == ("start", "failed")
    assert failed.message.startswith("a method of the layer: it has not ended within 60 s")


def test_ill_conditioned_examples_are_told_as_such(tmp_path: Path) -> None:
    """Statistics of two rows: what backward has to give cancels, and float32 leaves its rounding."""
    text = (PLUGINS / "normalised.py").read_text()
    for name, examples in (("normalised_rows", "()"), ("normalised_two", '({"attrs": {}, "inputs": [(2, 8)]},)')):
        file = tmp_path / f"{name}.py"
        file.write_text(text.replace("normalised_rows", name).replace("examples = ()", f"examples = {examples}"))
        load_plugin(file)
    assert failures("normalised_rows") == []
    (failed,) = failures("normalised_two")
    assert failed.name == "float32" and "an example is ill-conditioned" in failed.message
    assert "put larger inputs into ``examples``" in failed.message
