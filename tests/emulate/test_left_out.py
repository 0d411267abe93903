"""What holds the kernels of tensor cores together, left out of their PTX one by one: the emulator notices."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compiled import CONV, needs_compiler

from netspec.check.subject import Case, draw
from netspec.contract.tensor import Tensor
from netspec.device.emulated import device
from netspec.device.emulated.device import EmulatedCuda
from netspec.emulate import Module
from netspec.errors import NetspecError
from netspec.registry import layer_types

pytestmark = needs_compiler
ATTRS = {**CONV, "filters": 72, "size": 3, "pad": 1}
ORDER = re.compile(
    r"^\s*(bar\.sync|cp\.async\.\w+_group|fence\.proxy|wgmma\.(?:fence|commit_group|wait_group))[^;]*;", re.M
)


@pytest.mark.parametrize(
    ("variant", "kinds"),
    [
        ("tf32_64x64", {"bar.sync", "cp.async.commit_group", "cp.async.wait_group"}),
        ("tf32_wgmma_128x64", {"bar.sync", "cp.async.commit_group", "cp.async.wait_group", "fence.proxy", "wgmma.fence",
                               "wgmma.commit_group", "wgmma.wait_group"}),
    ],
)  # fmt: skip
def test_forward(variant, kinds, monkeypatch):
    """Each kind is missed; what is not missed makes no difference to the results either."""
    case = Case(layer_types()["conv"], ATTRS, (Tensor((2, 9, 9, 12), "float32"),))
    values, card = draw(case), EmulatedCuda()
    single, texts, real = case.on(card, variant=variant), {}, device.module_of
    monkeypatch.setattr(
        device, "module_of", lambda kernel, *rest: texts.setdefault(kernel.__name__, real(kernel, *rest))
    )
    wanted = single.forward(values)["y"]
    name = f"forward_{variant}"
    whole = texts[name].text
    missed = set()
    for found in ORDER.finditer(whole):
        texts[name] = Module(whole[: found.start()] + "\n" * found[0].count("\n") + whole[found.end() :])
        try:
            assert np.array_equal(single.forward(values)["y"], wanted), f"without {found[0].strip()} nobody notices"
        except NetspecError:
            missed.add(found[1])
    assert missed == kinds
