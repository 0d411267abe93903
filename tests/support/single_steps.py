"""One step by itself, on a CPU and on the emulated card."""

from __future__ import annotations

import functools
import re
from types import SimpleNamespace

import numpy as np
from compiled import EmulatedCuda

from netspec.check.subject import cpu
from netspec.contract.naming import Argument
from netspec.planning.identities import StepKey, of_layer
from netspec.planning.plan import Buffer, Region, Step
from netspec.program.steps import Lowering

RNG = np.random.default_rng(5)


@functools.cache
def gpu():
    return EmulatedCuda()


def run(device, op, values, writes, regions=None, **attrs):
    """What a step of that operation writes; regions are ranges of the last axis by argument."""
    keys = {name: of_layer("any", name, "activation", "d") for name in values}
    buffers = {keys[name]: Buffer(keys[name], value.shape, str(value.dtype)) for name, value in values.items()}
    args = {_argument(name): Region(keys[name], *(regions or {}).get(name, ())) for name in values}
    plan = SimpleNamespace(by_place=dict, buffers=buffers)
    step = Lowering(plan, {"d": device.kind}, {"d": device.team_size}, 0).lower(
        Step(StepKey(op, "d"), "compute", args, tuple(map(_argument, writes)), attrs=attrs)
    )
    arrays = {}
    for name, value in values.items():
        one, region = _argument(name), args[_argument(name)]
        arrays[one] = whole = device.empty(value.shape, str(value.dtype))
        device.upload(whole, value)
        if region.axis is not None:
            arrays[one] = device.slice(whole, region.axis, region.start, region.stop)
    device.bind(step.passes, arrays)()
    return {name: device.download(arrays[_argument(name)]) for name in writes}, [one.kernel for one in step.passes]


def _argument(name):
    """Sources of sums and subtrees are numbered: ``source0``."""
    found = re.fullmatch(r"(source|subtree)(\d+)", name)
    return Argument(found[1], index=int(found[2])) if found else Argument(name)


def compare(op, values, writes, **options):
    expected, _ = run(cpu(), op, values, writes, **options)
    got, kernels = run(gpu(), op, values, writes, **options)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-6, atol=1e-6, err_msg=f"{op}: {name}")
    return kernels


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)
