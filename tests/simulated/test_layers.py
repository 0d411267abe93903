"""Every layer's CUDA kernels in the simulator against its CPU kernels, on small shapes."""

from __future__ import annotations

import pytest

from netspec.check.compare import agree
from netspec.check.subject import Subject, cpu, draw, gpu
from netspec.registry import layer_types

TYPES = sorted(name for name, cls in layer_types().items() if any("cuda" in kernel.backends for kernel in cls.kernels))


def _variants(name):
    cls = layer_types()[name]
    return dict.fromkeys(kernel.variant for kernel in cls.kernels if "cuda" in kernel.backends)


@pytest.mark.parametrize("phase", ["train", "eval", "predict"])
@pytest.mark.parametrize(("name", "variant"), [(name, variant) for name in TYPES for variant in _variants(name)])
def test_kernels(name, variant, phase):
    ran = 0
    for case in Subject(name).cases:
        host, card = case.on(cpu(), phase), case.on(gpu(), phase, variant=variant)
        if not card.passes("forward") or not (variant == "plain" or card.layer.supports(card.t, variant)):
            continue
        ran += 1
        values, bound = draw(case, phase), card.layer.bounds.get(variant, 1e-5)
        if "label" in values:
            values["label"][0] = 0
        expected = host.forward(values, iteration=3, valid=max(1, case.inputs[0].shape[0] - 1))
        got = card.forward(values, iteration=3, valid=max(1, case.inputs[0].shape[0] - 1))
        for key, value in expected.items():
            agree(key, got[key], value, f"{case}: forward on a GPU against a CPU", bound)
        if phase == "train" and card.passes("backward"):
            _backward(host, card, {**values, **expected}, case, bound)
    assert ran


def _backward(host, card, values, case, bound):
    rows = max(1, case.inputs[0].shape[0] - 1)
    expected = host.backward(values, iteration=3, valid=rows)
    got = card.backward(values, iteration=3, valid=rows)
    assert set(got) == set(expected)
    for key, value in expected.items():
        agree(key, got[key], value, f"{case}: backward on a GPU against a CPU", bound)


def test_double_precision_is_the_kernels_own_dtype():
    case = Subject("relu").cases[0]
    values = draw(case)
    got = case.on(gpu(), dtype="float64").forward(values)["y"]
    assert got.dtype == "float64"
