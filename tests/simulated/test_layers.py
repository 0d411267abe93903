"""Every layer's CUDA kernels in the simulator against its CPU kernels, on small shapes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netspec.check.compare import agree
from netspec.check.subject import Subject, cpu, draw, gpu
from netspec.contract.kernel import PHASES
from netspec.registry import layer_types, load_plugin

ROOT = Path(__file__).parent.parent.parent


def _kind(name, variant):
    """Of kernels that come in tiles the largest ones are slow here, and of the same text as the smallest."""
    tile = re.search(r"_(\d+)x(\d+)", variant)
    large = tile is not None and int(tile[1]) * int(tile[2]) > 64 * 64
    return pytest.param(name, variant, marks=[pytest.mark.slow] if large else [])


KINDS = [
    _kind(name, variant)
    for name, cls in sorted(layer_types().items())
    for variant in dict.fromkeys(kernel.variant for kernel in cls.kernels if "cuda" in kernel.backends)
]


@pytest.mark.parametrize(("name", "variant"), KINDS)
def test_kernels(name, variant):
    _check(name, variant)


def test_compositions_run_on_both_backends(tmp_path):
    """The plugin of docs/plugins.md that is made of primitives."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "plugins.md").read_text(), flags=re.DOTALL)
    file = tmp_path / "mix.py"
    file.write_text(next(block for block in blocks if "ops.gemm" in block))
    (name,) = load_plugin(file)
    _check(name, "plain")


def _check(name, variant):
    seen = set()
    for case in Subject(name).cases:
        for phase in PHASES:
            card = case.on(gpu(), phase, variant=variant)
            kernels = tuple(one.kernel for one in card.passes("forward"))
            if (str(case), kernels) in seen or not (variant == "plain" or card.layer.supports(card.t, variant)):
                continue
            seen.add((str(case), kernels))
            _compare(case, case.on(cpu(), phase), card, draw(case, phase))
    assert seen


def _compare(case, host, card, values):
    """Forward, then backward from what the CPU's forward gave; the last row of the batch does not count."""
    rows, bound = max(1, case.inputs[0].shape[0] - 1), card.layer.bounds.get(card.variant, 1e-5)
    for direction in ("forward", "backward")[: 2 if card.layer.phase == "train" else 1]:
        expected = host.run(direction, values, iteration=3, valid=rows)
        got = card.run(direction, values, iteration=3, valid=rows)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            agree(key, got[key], value, f"{case}: {direction} on a GPU against a CPU", bound)
        values = {**values, **expected}


def test_double_precision_is_the_kernels_own_dtype():
    case = Subject("relu").cases[0]
    assert case.on(gpu(), dtype="float64").forward(draw(case))["y"].dtype == "float64"
