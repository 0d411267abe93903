"""Which kernels convolutions and dense layers take on GPUs: precision by the spec, tile by the shapes."""

import pytest

from netspec.check.subject import Case
from netspec.contract.tensor import Tensor
from netspec.layers._cuda.fma_block_tile import TILES as FMA_TILES
from netspec.layers._cuda.implicit_gemm import divisor, of_dense
from netspec.layers._cuda.mma_block_tile import PROCESSORS, TILES, tiles
from netspec.layers._cuda.mma_variants import chunks as chunks_of
from netspec.program.choice import candidates
from netspec.registry import layer_types
from netspec.spec.types import TrainSpec

INIT = {"init": {"type": "gaussian", "std": 0.1}, "bias_init": 0.0, "bias": True, "groups": 1}
CONV3 = {**INIT, "filters": 384, "size": 3, "pad": 1, "stride": 1, "rounding": "floor"}


def chosen(layer_type, attrs, shape, direction="forward", precision="tf32", capability=None):
    case = Case(layer_types()[layer_type], attrs, (Tensor(shape, "float32"),))
    layer = case.layer()
    t = layer.tensors(case.given("train"))
    return candidates(layer, t, "cuda", direction, TrainSpec(precision=precision).without["cuda"], capability)


@pytest.mark.parametrize(
    ("precision", "first"), [("tf32", "tf32_256x128"), ("bf16", "bf16_256x128"), ("float32", "float32_128x64")]
)
def test_the_spec_says_the_precision(precision, first):
    found = chosen("conv", CONV3, (128, 13, 13, 256), precision=precision)
    assert found[0] == first and found[-1] == "plain"
    assert len(found) == 1 + len(FMA_TILES if precision == "float32" else TILES)
    assert all(name.startswith(f"{precision}_") for name in found[:-1])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_hopper_has_variants_of_its_own_behind_the_others(direction):
    def found(capability, precision="tf32"):
        known = chosen("conv", CONV3, (128, 13, 13, 256), direction, precision, capability)
        return [variant for variant in known if "wgmma" in variant], known

    own, known = found((9, 0))
    assert "tf32_wgmma_128x128" in own and known[0] in [f"tf32_{tile}" for tile in TILES]
    assert known[len(TILES) :] == (*own, "plain")
    for capability in (None, (8, 0), (8, 9), (10, 0)):
        assert found(capability)[0] == []
    assert found((9, 0), "bf16")[0] == found((9, 0), "float32")[0] == []


def test_a_small_product_takes_small_tiles_so_that_all_processors_have_work():
    units = {**INIT, "units": 1000}
    assert chosen("dense", units, (128, 4096), "backward")[0] == "tf32_64x64"
    assert chosen("conv", {**CONV3, "filters": 48}, (128, 13, 13, 256))[0] == "tf32_128x64"


def test_few_rows_of_many_terms_are_split():
    units = {**INIT, "units": 2048}
    assert chosen("dense", units, (128, 9216))[:2] == ("tf32_128x128_split", "tf32_64x64")
    for precision in ("bf16", "float32"):
        assert f"{precision}_128x128_split" in chosen("dense", units, (128, 9216), precision=precision)
    assert "tf32_128x128_split" not in chosen("dense", units, (16384, 4096))
    assert "tf32_128x128_split" not in chosen("dense", units, (128, 40))


def test_a_tensor_beyond_32_bits_has_plain_kernels():
    assert chosen("conv", CONV3, (1 << 17, 13, 13, 256)) == ("plain",)


def test_a_dense_layer_is_a_convolution_with_one_position():
    layer = Case(layer_types()["dense"], {**INIT, "units": 8, "groups": 2}, (Tensor((3, 5, 7, 4), "float32"),)).layer()
    geometry = layer.tensors((Tensor((3, 5, 7, 4), "float32"),)).geometry
    assert (geometry.image, geometry.size, geometry.out) == ((5, 7), (5, 7), (1, 1))
    t = layer.tensors((Tensor((3, 4), "float32"),))
    assert of_dense(t, 2).image == (1, 1)


@pytest.mark.parametrize(
    ("filters", "channels", "groups", "chunks"), [(384, 256, 1, 4), (384, 384, 2, 4), (256, 384, 2, 9), (64, 3, 1, 128)]
)
def test_chunks_of_the_weights_gradient_are_no_few_blocks_too_many(filters, channels, groups, chunks):
    """AlexNet's upper convolutions, each with as many tiles as two blocks a multiprocessor take at once."""
    attrs = {**CONV3, "filters": filters, "groups": groups}
    case = Case(layer_types()["conv"], attrs, (Tensor((128, 13, 13, channels), "float32"),))
    geometry = case.layer().tensors(case.given("train")).geometry
    assert chunks_of(geometry) == chunks
    blocks = tiles(geometry.patch, 128) * tiles(geometry.share, 128) * groups * chunks
    assert blocks <= 2 * PROCESSORS


def test_the_images_gradient_does_not_choose_the_tile_for_the_weights():
    """AlexNet's conv1: nobody wants d_x, whose three channels would speak for narrow tiles."""
    conv1 = {**INIT, "filters": 96, "size": 11, "pad": 0, "stride": 4, "rounding": "ceil"}
    assert chosen("conv", conv1, (128, 224, 224, 3), "backward")[0] == "tf32_256x128"


def test_divisors():
    """Quotients by a product and a shift are those of whole numbers, at the edges of 31 bits too."""
    numbers = [0, 1, 2, 5, 1000, 2**31 - 1]
    for number in (1, 2, 3, 7, 27 * 27, 36, 55 * 55, 2**20 + 1):
        d, factor, shift = divisor(number)
        assert d == number and factor <= 2**32
        for n in {*numbers, number - 1, number, 10 * number - 1, 2**31 // number * number - 1}:
            assert n * factor >> shift == n // number
