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
from netspec.gates.assemble import find_disassembler, find_ptxas, resources_of, targets
from netspec.gates.signatures import signatures_of
from netspec.kernels.specialise import prepare
from netspec.plugin import by_products, matrix_product, on_elements
from netspec.program.choice import candidates
from netspec.registry import layer_types, load_plugin
from netspec.spec.train_section import TrainSpec

SAMPLES = ROOT / "docs" / "examples" / "layers"
HIGHWAY = '''
"""A layer whose epilogue reads another array and a number, and whose derivative asks for y alone."""
from netspec.plugin import Layer, Param, Tensor, by_products, channels, matrix_product, number, register


def squared(u, other, scale):
    return max(u, 0) * max(u, 0) * scale + other


def d_squared(y, other, dy, scale):
    return 2 * dy * scale * (max(y - other, 0) / scale) ** 0.5, dy


@register("product_highway")
class Highway(Layer):
    """y = scale * relu(x weight)^2 + other"""

    inputs = ("x", "other")
    attrs = {"scale": number("A factor.", default=1.5, above=0)}
    whole_only = "read all of it on one device: {from: ..., connect: all}"
    examples = ({"attrs": {}, "inputs": [(3, 5), (3, 6)]},)
    variants = by_products(
        matrix_product("x", "weight", "y", epilogue=squared, derivative=d_squared, numbers=("scale",))
    )

    def outputs(self, x, other):
        return Tensor(other.shape, x.dtype)

    def params(self, x, other):
        shape = x.shape[-1], other.shape[-1]
        return {"weight": Param(shape, {"type": "he"}, factor=True, fan_in=shape[0], fan_out=shape[1])}
'''
MLP = '''
"""Two products in one layer, of which the first ends with a function."""
import math

from netspec.plugin import Layer, Param, Tensor, Workspace, by_products, channels, matrix_product, register


def bent(u):
    return math.tanh(u)


def d_bent(h, dy):
    return dy * (1 - h * h)


@register("product_mlp")
class Mlp(Layer):
    """y = tanh(x first + bias) second"""

    attrs = {"units": channels("Outputs."), "hidden": channels("Between.")}
    examples = ({"attrs": {"units": 5, "hidden": 6}, "inputs": [(3, 7)]},)
    variants = by_products(
        matrix_product("x", "first", "h", bias="bias", d_y="to_h", epilogue=bent, derivative=d_bent),
        matrix_product("h", "second", "y", d_x="to_h"),
    )

    def outputs(self, x):
        return Tensor((x.shape[0], self.attrs.units), x.dtype)

    def params(self, x):
        depth, hidden, units = x.shape[1], self.attrs.hidden, self.attrs.units
        first = Param((depth, hidden), {"type": "he"}, factor=True, fan_in=depth, fan_out=hidden)
        second = Param((hidden, units), {"type": "he"}, factor=True, fan_in=hidden, fan_out=units)
        return {"first": first, "second": second, "bias": Param((hidden,), {"type": "constant", "value": 0.0})}

    def saved(self, x):
        return {"h": Tensor((x.shape[0], self.attrs.hidden), x.dtype)}

    def workspace(self, t, variant, direction):
        own = {"to_h": Workspace(t.h.shape, t.h.dtype)} if direction == "backward" else {}
        return {**own, **super().workspace(t, variant, direction)}
'''
PATHS = [("plain", 1e-5), ("float32_64x64", 1e-5), ("tf32_64x64", 5e-3), ("bf16_stored_64x64", 2e-2),
         ("bf16_wgmma_64", 2e-2)]  # fmt: skip
"""Variants, and how far each may be off float64."""


@pytest.fixture(scope="module", autouse=True)
def samples(tmp_path_factory):
    load_plugin(SAMPLES / "my_gated_dense.py")
    load_plugin(SAMPLES / "my_gelu_dense.py")
    for name, text in (("product_highway", HIGHWAY), ("product_mlp", MLP)):
        file = tmp_path_factory.mktemp("plugins") / f"{name}.py"
        file.write_text(text)
        load_plugin(file)


def case(shape, units, name="my_gated_dense") -> Case:
    cls = layer_types()[name]
    if name == "product_highway":
        return Case(cls, complete(cls, {}), (Tensor(shape), Tensor((shape[0], units))))
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


needs_compiler = pytest.mark.skipif(not finds_compiler(), reason="CUDA's compiler is not installed")


def compared(one, variant, bound):
    """What the variant gives in the emulator that is further off float64 than that, and what it gives."""
    values = draw(one)
    card = (one.stored_as_bfloat16() if bound == 2e-2 else one).on(gpu(), variant=variant)
    values = {name: np.asarray(value).astype(np.float32) for name, value in card.rounded(values).items()}
    assert card.layer.supports(card.t, variant)
    wanted, got = trip(one.on(cpu(), dtype="float64"), values).written, trip(card, values).written
    assert wanted.keys() == got.keys()
    off = {name: error(got[name].astype(np.float32), wanted[name]) for name in wanted}
    return {name: value for name, value in off.items() if value > bound}, {*wanted}


@needs_compiler
@pytest.mark.parametrize(("variant", "bound"), PATHS)
def test_the_emulated_gpu_agrees_with_float64(variant, bound) -> None:
    wrong, written = compared(case((130, 24), 72), variant, bound)
    assert wrong == {} and {"y", "d_x", "d_weight", "d_other", "d_bias"} <= written


@needs_compiler
@pytest.mark.parametrize("name", ["my_gelu_dense", "product_highway"])
@pytest.mark.parametrize(("variant", "bound"), PATHS)
def test_an_epilogue_in_the_kernel_agrees_with_float64(name, variant, bound) -> None:
    wrong, written = compared(case((130, 24), 72, name), variant, bound)
    assert wrong == {} and {"y", "d_x", "d_weight", "d_other" if "highway" in name else "u"} <= written


@needs_compiler
@pytest.mark.parametrize("name", ["my_gelu_dense", "product_highway"])
@pytest.mark.parametrize(("variant", "bound"), [("bf16_stored_64x64", 2e-2), ("tf32_64x64", 5e-3)])
def test_an_epilogue_where_rows_are_no_whole_vectors(name, variant, bound) -> None:
    assert compared(case((13, 5), 7, name), variant, bound)[0] == {}


@needs_compiler
@pytest.mark.parametrize(("variant", "bound"), [("float32_64x64", 1e-5), ("bf16_wgmma_64", 2e-2)])
def test_a_product_of_what_another_one_ends_with(variant, bound) -> None:
    cls = layer_types()["product_mlp"]
    one = Case(cls, complete(cls, {"units": 40, "hidden": 72}), (Tensor((70, 24)),))
    wrong, written = compared(one, variant, bound)
    assert wrong == {} and {"h", "y", "d_x", "d_first", "d_second", "d_bias"} <= written


@needs_compiler
def test_an_epilogue_behind_sums_of_chunks() -> None:
    assert compared(case((16, 1024), 128, "my_gelu_dense"), "bf16_wgmma_128_split", 2e-2)[0] == {}


@needs_compiler
def test_cards_run_no_pass_for_the_function() -> None:
    """On GPUs it is in the product's kernel, which saves its argument in training alone; on CPUs a pass behind."""
    one = case((128, 512), 512, "my_gelu_dense").stored_as_bfloat16()
    for phase, writes in (("train", {"y", "u"}), ("eval", {"y"})):
        (only,) = one.on(gpu(), phase, variant="bf16_wgmma_128").passes("forward")
        assert {str(target) for target in only.writes} == writes and "y_forward_bf16_wgmma_128" in only.kernel
    passes = [item.kernel.partition(":")[2] for item in case((8, 16), 4, "my_gelu_dense").on(cpu()).passes("forward")]
    assert passes[-1] == "y_gelu_train_cpu" and len(passes) > 1


def digests(share) -> set[str]:
    """Hashes of the forward kernels of a product that is multiplied by a constant."""

    def end(u):
        return u * share

    def slope(dy):
        return dy * share

    made = matrix_product("x", "weight", "y", epilogue=end, derivative=slope)
    kernels = [one for variant in made.variants for one in variant.kernels if one.finishes]
    return {prepare(one.function, "float32").digest for one in kernels}


def test_the_function_is_part_of_what_is_compiled() -> None:
    half, quarter = digests(0.5), digests(0.25)
    assert len(half) > 10 and half == digests(0.5) and not half & quarter


@needs_compiler
@pytest.mark.parametrize("variant", ["bf16_stored_128x128", "bf16_wgmma_128", "bf16_wgmma_256", "tf32_128x128"])
def test_an_epilogue_needs_no_memory_beside_registers(variant) -> None:
    if find_ptxas() is None or find_disassembler() is None:
        pytest.skip("ptxas and nvdisasm are not installed")
    one = case((128, 6144), 768, "my_gelu_dense")
    one = one.stored_as_bfloat16() if variant.startswith(("bf16_s", "bf16_w")) else one
    found = [item for item in signatures_of(one.on(gpu(), variant=variant)) if "y_forward" in item.kernel]
    jobs = [(item, target) for item in found for target in targets(item)]
    assert jobs and {one[1]: resources_of(one)["spills"] + resources_of(one)["stack"] for one in jobs} == {
        target: 0 for _, target in jobs
    }


def test_epilogues_that_cannot_be() -> None:
    def end(u, other):
        return u + other

    def asks_for_more(dy, another):
        return dy, another

    names = "asks_for_more: another is none of d_y, dy, other, u, y"
    with pytest.raises(TypeError, match=names):
        matrix_product("x", "weight", "y", epilogue=end, derivative=asks_for_more)
    with pytest.raises(TypeError, match="functions as epilogue and derivative, not end, None"):
        matrix_product("x", "weight", "y", epilogue=end)


def test_without_a_product() -> None:
    @on_elements("forward", writes="y")
    def twice(x):
        return x + x

    with pytest.raises(TypeError, match="takes a matrix_product"):
        by_products(twice)
