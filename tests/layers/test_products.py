"""Matrix products as parts of a plugin's layer: the sample of the docs, on every path that a card may take."""

from __future__ import annotations

import numpy as np
import pytest
from places import ROOT

from netspec.check.compare import error
from netspec.check.single import SingleLayer
from netspec.check.subject import Case, complete, cpu, draw, gpu
from netspec.check.writes import trip
from netspec.contract.tensor import Tensor
from netspec.device.gpus import finds_compiler
from netspec.plugin import by_products, on_elements
from netspec.program.choice import candidates
from netspec.registry import layer_types, load_plugin
from netspec.spec.train_section import TrainSpec

SAMPLE = ROOT / "docs" / "examples" / "layers" / "my_gated_dense.py"


@pytest.fixture(scope="module", autouse=True)
def sample():
    load_plugin(SAMPLE)


def case(shape, units) -> Case:
    cls = layer_types()["my_gated_dense"]
    return Case(cls, complete(cls, {"units": units}), (Tensor(shape),))


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize(
    ("capability", "stored", "precision", "prefix"),
    [
        ((9, 0), True, "bf16", "bf16_wgmma_"),
        ((8, 0), True, "bf16", "bf16_stored_"),
        ((12, 0), True, "bf16", "bf16_stored_"),
        ((9, 0), False, "tf32", "tf32_"),
        ((8, 0), False, "tf32", "tf32_"),
        ((8, 0), False, "float32", "float32_"),
    ],
)
def test_cards_get_the_products_of_dense_layers(capability, stored, precision, prefix, direction) -> None:
    one = case((128, 1024), 512)
    single = (one.stored_as_bfloat16() if stored else one).on(cpu())
    without = TrainSpec(precision=precision).without["cuda"]
    found = candidates(single.layer, single.t, "cuda", direction, without, capability)
    assert found[0].startswith(prefix), found


def test_it_is_a_dense_layer_to_the_bit_on_cpus() -> None:
    single, values = case((20, 33), 12).on(cpu()), None
    values = draw(case((20, 33), 12))
    made = single.forward(values)
    dense = SingleLayer("dense", {"units": 12}, [Tensor((20, 33))], cpu(), variant=single.variant)
    wanted = dense.forward({one: values[one] for one in ("x", "weight", "bias")})
    np.testing.assert_array_equal(made["u"], wanted["y"])


@pytest.mark.skipif(not finds_compiler(), reason="CUDA's compiler is not installed")
@pytest.mark.parametrize(
    ("variant", "bound"),
    [("plain", 1e-5), ("float32_64x64", 1e-5), ("tf32_64x64", 5e-3), ("bf16_stored_64x64", 2e-2),
     ("bf16_wgmma_64", 2e-2)],
)  # fmt: skip
def test_the_emulated_gpu_agrees_with_float64(variant, bound) -> None:
    one = case((130, 24), 72)
    values = draw(one)
    card = (one.stored_as_bfloat16() if bound == 2e-2 else one).on(gpu(), variant=variant)
    values = {name: np.asarray(value).astype(np.float32) for name, value in card.rounded(values).items()}
    assert card.layer.supports(card.t, variant)
    wanted, got = trip(one.on(cpu(), dtype="float64"), values).written, trip(card, values).written
    assert {"y", "d_x", "d_weight", "d_other", "d_bias"} <= {*wanted} and wanted.keys() == got.keys()
    assert {name: off for name in wanted if (off := error(got[name].astype(np.float32), wanted[name])) > bound} == {}


def test_without_a_product() -> None:
    @on_elements("forward", writes="y")
    def twice(x):
        return x + x

    with pytest.raises(TypeError, match="takes a matrix_product"):
        by_products(twice)
