"""The cost model of GPUs against what was measured on one: benchmarks/results/gpu-h100.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from places import ROOT

from netspec.planning import build
from netspec.planning.storage import storage_of
from netspec.program import lower
from netspec.program.gpu_model import GPUS, iteration_seconds, least_seconds, step_bytes
from netspec.program.program import Program
from netspec.runners.modelled_estimate import on_gpu
from netspec.spec import load

H100 = GPUS["h100"]
ONE, SEVERAL = 0, 1


@cache
def measured(report: str = "gpu-h100") -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((ROOT / f"benchmarks/results/{report}.json").read_text())
    return found


@cache
def program(network: str, precision: str, batch: int) -> Program:
    """As what was measured: each check and each update launched by itself, in float32 by the plain kernels."""
    spec = load(network, (f"train.cuda.precision={precision}", f"train.batch={batch}"))
    kinds, teams = dict.fromkeys(spec.devices, "cuda"), dict.fromkeys(spec.devices, 1)
    capabilities = dict.fromkeys(spec.devices, H100.capability)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netspec.program.build.merge", lambda steps, *_: steps)
        without = {"cuda": spec.train.without["cuda"] | {"float32"}}
        return lower(build(spec, "train"), kinds, teams, without=without, capabilities=capabilities)


def steps(precision: str) -> list[tuple[Any, float]]:
    """Steps with their variant's kernels as measured, and seconds."""
    rows = {row["step"].partition(" ")[0]: row for row in measured()[f"steps, {precision}"]["rows"]}
    found = []
    for step in program("alexnet-one-device", precision, 128).steps:
        row = rows.get(step.name)
        if row and row["variant"] == step.attrs.get("variant", ""):
            found.append((step, row["ms"] / 1e3))
    return found


def test_with_bfloat16_in_memory_the_model_keeps_to_the_roofline() -> None:
    spec = load("alexnet-one-device", ["train.precision=bf16"])
    kinds, capabilities = dict.fromkeys(spec.devices, "cuda"), dict.fromkeys(spec.devices, H100.capability)
    plan = build(spec, storage="bfloat16")
    stored = lower(plan, kinds, {"main": 1}, without=spec.train.without, capabilities=capabilities)
    least = least_seconds(stored, H100, "bf16")
    now = iteration_seconds(program("alexnet-one-device", "bf16", 128), H100)
    assert least < iteration_seconds(stored, H100) < now / 1.5
    assert 1.3 * least < least_seconds(program("alexnet-one-device", "bf16", 128), H100, "bf16")


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_the_rate_of_products_is_the_measured_one(precision: str) -> None:
    units = seconds = 0.0
    for step, took in steps(precision):
        shard = program("alexnet-one-device", precision, 128).plan.by_place().get((step.layer, step.device))
        for one in shard.instance.variants if shard and step.op in ("forward", "backward") else ():
            if one.name == step.attrs["variant"] and one.cost is not None:
                cost = one.cost(shard.instance, shard.tensors, step.op, H100.capability)
                units, seconds = units + cost, seconds + took
    assert H100.cost[precision] == pytest.approx(units / seconds, rel=0.005)


def test_the_other_rates_are_the_measured_ones() -> None:
    large = [(step.flops, took) for step, took in steps("float32") if step.attrs.get("variant") == "plain"]
    large = [one for one in large if one[0] > 1e9]
    assert H100.plain == pytest.approx(sum(n for n, _ in large) / sum(took for _, took in large), rel=0.005)
    ceilings, products = measured()["ceilings"], measured()["torch, products"]
    assert H100.copy / 1e9 == pytest.approx(ceilings["copy_GBs"], rel=0.005)
    assert H100.upload / 1e9 == pytest.approx(ceilings["host_to_device_GBs"], rel=0.005)
    for precision, rate in H100.peak.items():
        assert rate / 1e12 == pytest.approx(products[f"{precision}_TFLOPs"], rel=0.005)
    plain, tuned = measured()["training, tf32"], measured()["tuned, tf32"]
    assert H100.tuned == pytest.approx(tuned["images_per_second"] / plain["images_per_second"], rel=0.005)


@pytest.mark.parametrize(
    ("section", "network", "precision", "batch", "bound"),
    [
        ("training, float32", "alexnet-one-device", "float32", 128, ONE),
        ("training, tf32", "alexnet-one-device", "tf32", 128, ONE),
        ("training, bf16", "alexnet-one-device", "bf16", 128, ONE),
        ("training, large batch", "alexnet-one-device", "bf16", 1024, ONE),
        ("iteration", "cifar10-quick", "tf32", 16, ONE),
        ("training, two devices on one card", "alexnet", "bf16", 128, SEVERAL),
    ],
)
def test_iterations_take_what_was_measured(section: str, network: str, precision: str, batch: int, bound: int) -> None:
    row = measured()[section]
    assert (row["network"], row["batch"]) == (network, batch)
    modelled = iteration_seconds(program(network, precision, batch), H100) * 1e3
    assert modelled == pytest.approx(row["ms"], rel=H100.errors[bound])


@pytest.mark.parametrize(
    ("section", "bound"),
    [("training, bf16", ONE), ("training, large batch", ONE), ("training, two devices on one card", SEVERAL)],
)
def test_with_bfloat16_in_memory_iterations_take_the_card_what_was_measured(section: str, bound: int) -> None:
    row = measured("gpu-h100-bf16")[section]
    spec = load(row["network"], ["train.precision=bf16", f"train.batch={row['batch']}"])
    kinds, teams = dict.fromkeys(spec.devices, "cuda"), dict.fromkeys(spec.devices, 1)
    capabilities = dict.fromkeys(spec.devices, H100.capability)
    plan = build(spec, storage="bfloat16")
    stored = lower(plan, kinds, teams, without=spec.train.without, capabilities=capabilities)
    assert iteration_seconds(stored, H100) * 1e3 == pytest.approx(row["ms_of_devices"], rel=H100.errors[bound])


def test_the_bound_is_below_whatever_was_measured() -> None:
    for precision in ("float32", "tf32", "bf16"):
        least = least_seconds(program("alexnet-one-device", precision, 128), H100, precision) * 1e3
        assert 0 < least < measured()[f"training, {precision}"]["ms_of_devices"]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("name", GPUS)
def test_each_gpu_is_modelled_with_the_kernels_that_it_has(name: str, precision: str) -> None:
    gpu, spec = GPUS[name], load("alexnet-one-device", [f"train.precision={precision}"])
    found = on_gpu(build(spec, "train", storage=storage_of(spec.train.precision, [gpu.capability])), spec, gpu)
    products = [step for step in found.steps if (step.layer or "").startswith(("conv", "fc"))]
    chosen = {step.attrs["variant"] for step in products if "variant" in step.attrs}
    hopper = gpu.capability == (9, 0)
    stored = ("bf16_wgmma_", "bf16_cells_") if hopper else "bf16_stored_"
    families = {"float32": "float32_", "tf32": "tf32_", "bf16": stored}
    assert chosen and all(one.startswith(families[precision]) for one in chosen), chosen
    assert hopper or not any("wgmma" in one for one in chosen)
    assert least_seconds(found, gpu, precision) < iteration_seconds(found, gpu) < 1


def test_a_gpu_that_was_not_measured_has_the_share_of_its_data_sheet_that_was_measured() -> None:
    assert {name for name, one in GPUS.items() if one.errors} == {name for name, one in GPUS.items() if one.checked}
    assert {name for name, one in GPUS.items() if one.checked} == {"h100"}
    a100, shares = GPUS["a100"], {"float32": 19.5 / 66.9, "tf32": 156 / 494.7, "bf16": 312 / 989.4}
    assert a100.copy / H100.copy == pytest.approx(2039 / 3350)
    assert {one: a100.peak[one] / H100.peak[one] for one in shares} == pytest.approx(shares)
    assert a100.cost["tf32"] / H100.cost["tf32"] == pytest.approx(shares["tf32"] / 0.62)
    for rates in ("peak", "cost"):
        assert getattr(GPUS["h200"], rates) == pytest.approx(getattr(H100, rates))


def test_bytes_of_a_step_are_those_of_its_tensors() -> None:
    found = program("alexnet-one-device", "tf32", 128)
    update = next(step for step in found.steps if step.name == "fc7.weight@main.update")
    weight = 4 * 4096 * 4096
    assert step_bytes(found, update) == pytest.approx(3 * weight, rel=1e-3)
