"""What the emulator has of wgmma and TMA from the ISA's words, on a card: products of bfloat16, edges and AlexNet's.

``pytest -m gpu``.
"""

from __future__ import annotations

import pytest
from compiled import CONV, DEFAULTS
from tma_products import PRODUCTS, check

from netspec.device.gpus import gpus, obstacle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU is found"),
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
]
ALEXNET = {
    "conv2": ("conv", {**CONV, "filters": 128, "size": 5, "pad": 2}, (3, 27, 27, 48), "128_48"),
    "conv3": ("conv", {**CONV, "filters": 384, "size": 3, "pad": 1}, (3, 13, 13, 256), "192_128"),
    "conv3 in other tiles": ("conv", {**CONV, "filters": 384, "size": 3, "pad": 1}, (3, 13, 13, 256), "128_256"),
    "conv4": ("conv", {**CONV, "filters": 192, "size": 3, "pad": 1}, (3, 13, 13, 192), "96_192"),
    "fc6": ("dense", {**DEFAULTS, "units": 2048}, (128, 6, 6, 256), "64_split"),
    "fc7": ("dense", {**DEFAULTS, "units": 2048}, (128, 4096), "128"),
    "fc8": ("dense", {**DEFAULTS, "units": 1000}, (128, 4096), "256_split"),
}


@pytest.fixture(scope="module")
def hopper():
    from netspec.device.cuda.device import CudaDevice

    card = CudaDevice(0)
    if card.capability != (9, 0):
        pytest.skip("the card is no Hopper")
    return card


@pytest.mark.parametrize("name", [*PRODUCTS, *ALEXNET])
def test_products(hopper, name):
    check(hopper, *{**PRODUCTS, **ALEXNET}[name])
