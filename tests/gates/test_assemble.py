"""The compile gate: every CUDA kernel through numba-cuda and ptxas, without a GPU, against the checked-in table."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pipeline_ptx import WHOLE, bent

from netspec.device.gpus import finds_compiler
from netspec.gates import assemble as gate
from netspec.gates.assemble import (
    Outcome,
    assemble,
    check_machine_code,
    differences,
    find_ptxas,
    ptx_of,
    record_of,
    seal_of,
    toolchain,
)
from netspec.gates.signatures import cuda_signatures, uncovered

TABLE = Path(__file__).parent / "cuda_resources.json"
REMEDY = "what has changed on purpose: python -m netspec.gates.assemble tests/gates/cuda_resources.json --write"
needs_ptxas = pytest.mark.skipif(
    find_ptxas() is None or not finds_compiler(),
    reason="ptxas or the CUDA compiler is not installed: pip install 'netspec[gates]'",
)


def test_every_cuda_kernel_is_run_by_an_example():
    assert uncovered() == []


def test_every_signature_is_compiled_once():
    names = [one.name for one in cuda_signatures()]
    assert len(names) == len(set(names))
    assert any(name.startswith("solvers.sgd:") for name in names)


@needs_ptxas
@pytest.mark.parametrize("words", [[], pytest.param(["--all"], marks=pytest.mark.slow)])
def test_kernels_compile_assemble_and_take_what_the_table_says(words, capsys):
    """Those whose seal in the table does not hold; with ``--all`` each of them."""
    code = gate.main([str(TABLE), *words])
    assert code == 0, f"{capsys.readouterr().out}\n{REMEDY}"


@needs_ptxas
def test_a_kernel_is_taken_from_the_table_while_its_seal_holds(monkeypatch):
    one = next(one for one in cuda_signatures() if one.kernel == "tanh:forward_cuda")
    figures = {f"sm_{''.join(map(str, target))}": _resources(1) for target in gate.targets(one)}
    table = {"kernels": {one.name: figures}, "seals": {one.name: seal_of(one, figures)}}
    monkeypatch.setattr(gate, "ProcessPoolExecutor", Unused)
    monkeypatch.setattr(gate, "record_of", lambda job: Path("nowhere"))
    assert gate.gate([one], table=table) == Outcome({one.name: figures}, ())
    others = (
        ({**table, "kernels": {one.name: figures | {"sm_90": _resources(2)}}}, one),
        ({**table, "kernels": {one.name: {"sm_90": _resources(1)}}}, one),
        ({"kernels": table["kernels"]}, one),
        (table, replace(one, types=tuple(text.replace("C", "A") for text in one.types))),
        (table, replace(one, bound=384)),
        (table, replace(one, kernel="relu:forward_cuda")),
    )
    for given, signature in others:
        with pytest.raises(Assembled):
            gate.gate([signature], table=given)


class Assembled(Exception):
    """Kernels are given to a pool of processes."""


class Unused:
    """In place of that pool."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, function, jobs, chunksize):
        if list(jobs):
            raise Assembled
        return []


@needs_ptxas
def test_an_elementwise_layer_is_in_the_code_of_the_kernel_before():
    kernels = {one.then: one for one in cuda_signatures() if one.kernel == "conv:forward_cuda"}
    relu, alone = (ptx_of(kernels[then], (9, 0)) for then in (("relu:forward_cuda",), ()))
    assert "selp.f32" in relu and "selp.f32" not in alone
    assert "max.f32" not in relu  # it loses NaN


@needs_ptxas
def test_a_bound_of_threads_is_in_the_code_and_in_the_name_of_what_is_kept():
    free = next(one for one in cuda_signatures() if one.kernel == "relu:forward_cuda")
    bound = replace(free, bound=384)
    assert ".maxntid 384" in ptx_of(bound, (9, 0)) and ".maxntid" not in ptx_of(free, (9, 0))
    assert record_of((free, (9, 0))) != record_of((bound, (9, 0)))


@needs_ptxas
def test_the_gate_finds_spills_changes_and_strangers():
    table = {"toolchain": toolchain(), "kernels": {"a": {"sm_90": _resources(10)}, "gone": {}}}
    outcome = Outcome({"a": {"sm_90": _resources(12)}, "b": {"sm_90": _resources(9, spills=8)}}, ("c: refused",))
    lines = "\n".join(differences(outcome, table))
    for words in ("c: refused", "a for sm_90 takes", "b for sm_90 spills 8", "b for sm_90 is not in", "gone is in"):
        assert words in lines
    assert "a for" not in "\n".join(differences(outcome, {**table, "toolchain": "another"}))


@needs_ptxas
def test_ptxas_words_are_passed_on():
    with pytest.raises(RuntimeError, match="ptxas"):
        assemble("no ptx", "sm_90")


WAIT = "wgmma.wait_group.sync.aligned 1;"


@needs_ptxas
def test_a_pipeline_assembles():
    assert assemble(WHOLE, "sm_90a") == {"registers": 168, "shared": 0, "stack": 0, "spills": 0}


@needs_ptxas
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bent(WAIT, f"{WAIT} st.global.f32 [%rd3], %f0;"), "Potential Performance Loss: wgmma.mma_async"),
        (bent(WAIT, f"add.f32 %f0, %f0, %f0; {WAIT}"), "warpgroup.wait is injected"),
        (bent("wgmma.fence.sync.aligned;"), "warpgroup.arrive is injected"),
        (WHOLE.replace(".minnctapersm 1", ""), "'setmaxnreg' ignored"),
    ],
)
def test_products_that_wait_for_each_other_are_refused(text, words):
    with pytest.raises(RuntimeError, match=words):
        assemble(text, "sm_90a")


@needs_ptxas
def test_a_pipeline_with_local_memory_is_refused(monkeypatch):
    lines = "cvt.u64.u32 %rd9, %r1; mov.u64 %rd8, own; add.u64 %rd9, %rd8, %rd9; st.local.f32 [%rd9], %f3;"
    text = bent("DONE:", f"{lines} ld.local.f32 %f4, [%rd9 + 4]; st.global.f32 [%rd3], %f4; DONE:")
    text = text.replace(".reg .pred", ".local .align 4 .b8 own[64]; .reg .pred", 1)
    monkeypatch.setattr(gate, "ptx_of", lambda *_: text)
    with pytest.raises(RuntimeError, match="64 bytes of local memory"):
        gate._resources((None, (9, 0, "a")))


def test_the_table_is_readable():
    table = json.loads(TABLE.read_text())
    assert all(set(got) == set(_resources(0)) for targets in table["kernels"].values() for got in targets.values())


def _resources(registers, spills=0):
    return {"registers": registers, "shared": 0, "stack": 0, "spills": spills}


def test_products_of_matrices_need_tensor_cores_and_wide_accesses():
    lines = "HMMA.1688.F32.TF32 R4\nLDS.128 R4\nLDGSTS.E.BYPASS.128.ZFILL [R1]\nSTG.E.128 [R2.64]".splitlines()
    check_machine_code("\n".join(lines))
    for number, words in enumerate(("tensor cores", "128-bit loads", "128-bit copies", "128-bit stores")):
        with pytest.raises(RuntimeError, match=words):
            check_machine_code("\n".join(lines[:number] + lines[number + 1 :]))


def test_products_of_stored_bfloat16_need_matrices_from_shared_memory_too():
    lines = "HMMA.16816.F32.BF16 R4\nLDS.128 R4\nLDGSTS.E.BYPASS.128.ZFILL [R1]\nSTG.E.64 [R2.64]\nLDSM.16.MT88.4 R8"
    lines = lines.splitlines()
    check_machine_code("\n".join(lines), stored=True)
    words = ("tensor cores", "128-bit loads", "128-bit copies", "64 bits and more", "as matrices")
    for number, missing in enumerate(words):
        with pytest.raises(RuntimeError, match=missing):
            check_machine_code("\n".join(lines[:number] + lines[number + 1 :]), stored=True)


def test_pipelines_need_tensor_cores_and_their_copies():
    lines = "HGMMA.64x96x16.F32.BF16 R24\nUTMALDG.4D.IM2COL [UR8], [UR4]\nSTG.E.64 desc[UR6][R2.64], R4".splitlines()
    check_machine_code("\n".join(lines), pipeline=True)
    for number, words in enumerate(("tensor cores", "memory accelerator", "64 bits and more")):
        with pytest.raises(RuntimeError, match=words):
            check_machine_code("\n".join(lines[:number] + lines[number + 1 :]), pipeline=True)
