"""Products by mma.sync of what is bfloat16 in memory, on a card, beside the plain CPU kernels in float64.

``pytest -m gpu``.
"""

from __future__ import annotations

import pytest
from stored_products import PRODUCTS, check

from netspec.device.gpus import gpus, obstacle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU is found"),
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
]


@pytest.fixture(scope="module")
def card():
    from netspec.device.cuda.device import CudaDevice

    found = CudaDevice(0)
    if found.capability < (8, 0):
        pytest.skip("the card multiplies no bfloat16")
    return found


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(card, name):
    check(card, *PRODUCTS[name])
