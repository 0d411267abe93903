"""The contract suite finds what is wrong: each layer of plugins/wrong*.py fails the check that it was made for."""

from __future__ import annotations

import pytest
from places import PLUGINS

from netspec.check import CHECKS, run, subject
from netspec.check.subject import Subject
from netspec.check.suite import Result, outcome
from netspec.errors import NetspecError
from netspec.registry import load_plugin

EXPECTED = {
    "wrong_docs": ("docs", "class Undocumented has no docstring"),
    "wrong_default": ("schema", "'size': the default 0 does not fit"),
    "wrong_untyped": ("schema", "'size' takes 3: state its type"),
    "wrong_shape": ("shapes", "its first axis must be the batch"),
    "wrong_error": ("shape_errors", "IndexError: tuple index out of range; it must be a LayerError"),
    "wrong_forgets": ("written", "y[1, 4, 5, 3] is nan, expected a finite number (1 of 240 elements)"),
    "wrong_forgets_gradient": ("written", "is nan, expected a finite number"),
    "wrong_scratch": ("written", "scratch memory is read before it is written"),
    "wrong_input": (
        "written",
        "forward_cpu changes 'x', which it does not name among what it writes: x[0, 0, 0, 0] was ",
    ),
    "wrong_bounds": ("written", "a kernel writes outside the array 'y'"),
    "wrong_gradient": ("gradients", "but the difference quotient of forward is"),
    "wrong_no_gradient": ("all_outputs", "(they write d_x; cpu, train;"),
    "wrong_in_place": ("in_place", "backward reads 'x', which y has overwritten"),
    "wrong_neighbour": ("in_place", "in place it comes out otherwise"),
    "wrong_team": ("team", "scratch memory left by another block"),
    "wrong_order": ("team", "which member of a team of"),
    "wrong_places": ("team", "is given the positions 96 to 119 of 'y' and writes others"),
    "wrong_cut": ("team", "how a pass is cut into blocks"),
    "wrong_precision": ("float32", "float32 differs from float64"),
    "wrong_variant": ("variants", "the variant 'fast' differs"),
    "wrong_narrow_sums": ("bfloat16", "with activations of bfloat16 the CPU kernels (plain) differ from the plain CPU"),
    "wrong_mixes": ("shards", "it differs from the whole layer's: shard 0 of 2"),
    "wrong_noise_place": ("shards", "it differs from the whole layer's: shard 0 of 2"),
    "wrong_noise_once": ("deterministic", "another iteration draws the same random numbers"),
    "wrong_noise_phase": ("phases", "another iteration gives other values than eval"),
    "wrong_state": ("state", "'next_mean' is written in eval"),
    "wrong_cut_size": ("shards", "'scale' is (8,), a half of the whole layer's is (4,)"),
    "wrong_cost": ("valid_rows", "rows that are not valid change it"),
    "wrong_python": ("shapes", "wrong.py:281: 'Tensor' object has no attribute 'shapes'"),
    "wrong_kink": ("gradients", "say where in ``kinks``"),
    "wrong_nan_forward": ("non_finite", "is NaN, and changes with it: NaN must be passed on, or ``nonfinite`` say why"),
    "wrong_nan_backward": ("non_finite", "is 100 where d_y[0, "),
    "wrong_nan_variant": ("non_finite", "; the plain kernels in float64 give inf (cpu, fast, train, forward;"),
    "wrong_nan_sign": ("non_finite", "is -inf where x[0, 0, 0, 3] is inf and x"),
    "wrong_nan_images": ("non_finite", "y[1, 0, 0, 3] is nan where x[0, 0, 0, 3] is NaN; the plain kernels in"),
    "wrong_nan_word": ("non_finite", "``nonfinite`` says 'z': 'there is none'; give a reason for one of d_x, y"),
    "wrong_nan_reason": ("non_finite", "``nonfinite`` says 'y': ''; give a reason"),
}
IN_MISTAKES = {
    *("imports", "calls", "marks", "constancy", "indices", "sizes", "replicas", "cuda_float64", "cuda_bfloat16"),
}
"""Those that fail in test_mistakes_on_cpus.py, test_mistakes.py and test_mistakes_of_authors.py."""
BY_NAME = {check.__name__.removeprefix("check_"): check for check in CHECKS}


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    """The wrong layers are known while these tests run."""
    for file in PLUGINS.glob("wrong*.py"):
        load_plugin(file)


@pytest.mark.parametrize("layer_type", EXPECTED)
def test_finds(layer_type: str) -> None:
    name, message = EXPECTED[layer_type]
    result = outcome(BY_NAME[name], Subject(layer_type))
    assert (result.status, message in result.message) == ("failed", True), result


def test_teams_are_given_stored_arrays_too() -> None:
    result = outcome(BY_NAME["bfloat16"], Subject("wrong_order"))
    assert result.status == "failed" and "which member of a team of" in result.message


@pytest.mark.parametrize("layer_type", ["right_state", "right_cost", "right_noise", "right_threshold"])
def test_right_layers_pass(layer_type: str) -> None:
    assert [result for result in run(layer_type, ("cpu",)) if result.status == "failed"] == []


WRONG_ON_CUDA = {
    "wrong_cuda": ("cuda", "y[1, 4, 5, 3] is never written (1 of 240 elements): all of 'y' is left to forward_cuda ("),
    "wrong_nan_cuda": ("cuda_non_finite", "y[0, 0, 0, 3] is 0 where x[0, 0, 0, 3] is NaN; the plain kernels in"),
}


@pytest.mark.parametrize("layer_type", WRONG_ON_CUDA)
def test_finds_wrong_cuda(layer_type: str) -> None:
    name, message = WRONG_ON_CUDA[layer_type]
    result = outcome(BY_NAME[name], Subject(layer_type, ("cpu", "cuda")))
    if result.status == "skipped":
        pytest.skip(result.message)
    assert message in result.message


def test_without_gpu_and_compiler_cuda_checks_are_skipped_and_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    from netspec.kernels.numba_cuda import cuda

    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(subject, "finds_compiler", lambda: False)
    subject.gpu.cache_clear()
    result = outcome(BY_NAME["cuda"], Subject("wrong_cuda", ("cpu", "cuda")))
    assert result.status == "skipped" and "pip install 'netspec[cuda13]'" in result.message


def test_every_check_of_a_cpu_can_fail() -> None:
    can_fail = {name for name, _ in EXPECTED.values()}
    assert set(BY_NAME) - can_fail == {"cuda", "cuda_again", "cuda_non_finite", *IN_MISTAKES}


def test_a_skip_says_why() -> None:
    skipped = [result for result in run("right_noise", ("cpu",)) if result.status == "skipped"]
    assert {result.name: result.message for result in skipped}["cuda"] == "the layer has no CUDA kernels"
    assert all(result.message for result in skipped)


def test_results_tell_what_was_checked() -> None:
    assert all(isinstance(result, Result) and result.about for result in run("right_cost", ("cpu",)))


def test_unknown_type() -> None:
    with pytest.raises(NetspecError, match=r"there is no layer type 'nosuch'; known are .*relu"):
        run("nosuch")
