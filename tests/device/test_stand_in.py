"""The GPU tests, and more, on cards that are not there: numba-cuda's own host code on a stand-in for the driver.

Kernels run in netspec's emulator, as the PTX that numba-cuda compiles for a card; work of several streams, graphs and
cards runs in any order that its dependencies leave.
"""

from __future__ import annotations

import pytest
from cards_apart import needs_stand_in, pytest_on_cards
from places import TESTS

from netspec.device.gpus import gpus

QUICK = (
    "launches or bfloat16 or slices or staging or captured or rates or too_much_memory or serial and "
    "iteration_on_a_gpu"
)
pytestmark = [
    pytest.mark.skipif(bool(gpus()), reason="the driver's library is this machine's own"),
    *needs_stand_in,
]


def test_the_quick_gpu_tests():
    pytest_on_cards("-m", "gpu", TESTS / "gpu", "-k", f"({QUICK}) and not beside")


def test_two_cards_faults_and_refusals():
    pytest_on_cards(TESTS / "stand_in" / "on_cards.py")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_networks_in_any_order(seed):
    pytest_on_cards("-m", "gpu", TESTS / "gpu", "-k", "not contract and not processes", seed=seed)


@pytest.mark.slow
def test_the_contract_of_every_layer():
    pytest_on_cards("-m", "gpu", TESTS / "gpu", "-k", "contract")
