"""What the report of matrix products says of the machine code: the main loops are bound by tensor cores."""

import pytest

from netspec.device.gpus import finds_compiler
from netspec.gates.assemble import find_disassembler, find_ptxas
from netspec.gates.tensor_core_bound import CARDS, main_loop, products, resident, stage_of

needs_tools = pytest.mark.skipif(
    find_ptxas() is None or find_disassembler() is None or not finds_compiler(),
    reason="ptxas, nvdisasm or the CUDA compiler is not installed: pip install 'netspec[gates]'",
)
LOOP = """
.L_x_1:
        /*0100*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0110*/              @!PT LDS RZ, [RZ] ;
        /*0120*/                   LDGSTS.E.BYPASS.128 [R4], desc[UR4][R2.64], P0 ;
        /*0130*/                   LDSM.16.M88.4 R8, [R5] ;
        /*0140*/                   LDS.64 R12, [R6] ;
        /*0150*/                   HMMA.1688.F32.TF32 R16, R8, R12, R16 ;
        /*0160*/              @!P1 CALL.REL.NOINC `(.L_x_2) ;
        /*0170*/                   BRA `(.L_x_1) ;
.L_x_2:
        /*0180*/                   EXIT ;
"""


def test_the_loop_is_found_and_counted():
    assert main_loop(LOOP) == {"BAR": 1, "NOP": 1, "LDGSTS.128": 1, "LDSM": 1, "LDS.64": 1, "HMMA": 1, "BRA": 1}


def test_resident_blocks():
    hopper = CARDS[9, 0]
    assert resident(hopper, 255, 0, 128) == 2
    assert resident(hopper, 32, 0, 128) == 16
    assert resident(hopper, 32, 48 << 10, 128) == 4


@needs_tools
@pytest.mark.parametrize("kernel", ["conv:forward_", "conv:d_x_", "conv:d_weight_chunk_"])
def test_tensor_cores_are_the_busiest_unit(kernel):
    (one,) = products(f"{kernel}tf32_128x128")
    found = stage_of(one, (9, 0))
    assert found.bound == "tensor cores" and found.resident == 2
    assert found.mix["HMMA"] == 64 and found.issued <= 400
    assert not found.mix["LDS.128"] and not found.mix["LDL"]


@needs_tools
@pytest.mark.parametrize("kernel", ["conv:forward_", "conv:d_x_", "conv:d_weight_chunk_"])
def test_of_stored_bfloat16_nothing_is_converted_and_products_take_longest(kernel):
    (one,) = products(f"{kernel}bf16_stored_128x128")
    found = stage_of(one, (8, 0))
    assert found.bound == "tensor cores" and found.resident == 2 and found.tflops > 300
    assert found.mix["HMMA"] == 64 and found.mix["LDSM"] == 16 and not found.mix["F2FP"]
    assert not found.mix["LDS"] and not found.mix["LDL"]


@needs_tools
@pytest.mark.parametrize("kernel", ["conv:forward_", "conv:d_x_", "conv:d_weight_chunk_"])
def test_without_tensor_cores_little_but_products_is_issued(kernel):
    (one,) = products(f"{kernel}float32_128x128")
    found = stage_of(one, (9, 0))
    assert found.bound == "issue" and found.resident == 2 and found.tflops > 50
    assert found.mix["FFMA"] == 2048 and found.issued <= 2420
    assert found.mix["LDS.128"] == 96 and not found.mix["LDS"] and not found.mix["LDL"]
    assert stage_of(one, (8, 0)).bound == "tensor cores"


@needs_tools
@pytest.mark.parametrize("kernel", ["conv:forward_", "conv:d_x_"])
def test_hoppers_own_instruction_leaves_shared_memory_the_busiest(kernel):
    (one,) = products(f"{kernel}tf32_wgmma_128x128_uncached")
    found = stage_of(one, (9, 0, "a"))
    assert found.mix["HGMMA"] == 4 and not found.mix["HMMA"] and found.resident == 3
    assert found.bound == "shared memory" and found.cycles == {
        "tensor cores": 256.0, "issue": float(found.issued), "shared memory": 320.0
    }  # fmt: skip
    assert found.issued <= 200 and not found.mix["LDL"]
