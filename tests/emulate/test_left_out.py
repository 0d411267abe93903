"""What holds the kernels of tensor cores together, left out of their PTX one by one: the emulator notices."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compiled import CONV, DEFAULTS, needs_compiler

from netspec.check.subject import Case, draw
from netspec.contract.tensor import Tensor
from netspec.device.emulated import device
from netspec.device.emulated.device import EmulatedCuda
from netspec.emulate import Module
from netspec.errors import NetspecError
from netspec.registry import layer_types

pytestmark = needs_compiler
ATTRS = {**CONV, "filters": 72, "size": 3, "pad": 1}
DENSE = {**DEFAULTS, "units": 64}
PIPELINE = re.compile(
    r"(mbarrier\.(?:init|arrive(?:\.expect_tx)?|try_wait)|cp\.async\.bulk|setmaxnreg\.dec|bar\.sync"
    r"|fence\.(?:mbarrier_init|proxy\.tensormap)|wgmma\.(?:fence|commit_group|wait_group))\.?([^;]*);"
)
ORDER = re.compile(
    r"^\s*(bar\.sync|cp\.async\.\w+_group|fence\.proxy|wgmma\.(?:fence|commit_group|wait_group))[^;]*;", re.M
)


def no_lines(*asked):
    """In place of the source's lines, to find which a kernel is compiled once more each time that it is stopped."""
    return {}


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
    monkeypatch.setattr(device, "lines_of", no_lines)
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


def test_a_pipeline_by_tma(monkeypatch):
    """More stages of terms than the ring has: waits, arrivals, copies and fences of each kind are missed.

    Not every one of them: of an unrolled loop the last round needs no wait for what nothing overwrites any more.
    """
    case = Case(layer_types()["dense"], DENSE, (Tensor((4, 520), "float32"),))
    single = case.stored_as_bfloat16().on(EmulatedCuda(), variant="bf16_wgmma_64")
    values, texts, real = single.rounded(draw(case)), {}, device.module_of
    monkeypatch.setattr(device, "module_of", lambda *asked: texts.setdefault(asked[0].__name__, real(*asked)))
    monkeypatch.setattr(device, "lines_of", no_lines)
    wanted = single.forward(values)["y"]
    (name,) = (name for name, module in texts.items() if "cp.async.bulk.tensor" in module.text)
    whole, missed = texts[name].text, set()
    for found in PIPELINE.finditer(whole):
        if found[1] in missed:
            continue
        instead = "setp.eq.u32 done, 0, 0;" if "try_wait" in found[1] else ""
        texts[name] = Module(whole[: found.start()] + instead + whole[found.end() :])
        try:
            assert np.array_equal(single.forward(values)["y"], wanted), f"without {found[0]} nobody notices"
        except NetspecError:
            missed.add(found[1])
    assert missed == {found[1] for found in PIPELINE.finditer(whole)} and len(missed) == 12
