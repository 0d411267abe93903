"""Intrinsics of netspec.kernels.instructions through numba-cuda and ptxas; results: test_instruction_results.py."""

import pytest

from netspec.device.gpus import finds_compiler
from netspec.gates.assemble import assemble, find_ptxas
from netspec.kernels.specialise import prepare
from netspec.plugin import (
    cp_async4,
    cp_async8,
    cp_async16,
    cp_async_commit,
    cp_async_wait,
    cuda,
    ldmatrix,
    ldmatrix_trans,
    load4,
    mma_bf16,
    mma_tf32,
    quotient,
    rsqrt,
    shuffle_down,
    shuffle_xor,
    store4,
    to_bf16x2,
    to_tf32,
)

pytestmark = pytest.mark.skipif(
    find_ptxas() is None or not finds_compiler(),
    reason="ptxas or the CUDA compiler is not installed: pip install 'netspec[gates]'",
)


def every(source, target):
    words = cuda.shared.array(1024, source.dtype, alignment=16)
    t = cuda.threadIdx.x
    cp_async16(words, 4 * t, source, 4 * t, 3)
    cp_async8(words, 256 + 2 * t, source, 2 * t, t % 3)
    cp_async4(words, 512 + t, source, t, 1)
    cp_async16(words, 640 + 4 * t, source, 4 * t, t < 30)
    cp_async_commit()
    cp_async_wait(0)
    cuda.syncthreads()
    v = load4(words, 4 * t)
    a = to_tf32(v[0]), to_tf32(v[1]), to_tf32(v[2]), to_tf32(v[3])
    c = mma_tf32(a, (a[0], a[1]), v)
    d = mma_bf16(a, (to_bf16x2(v[0], v[1]), a[1]), c)
    m, n = ldmatrix(words, 4 * t), ldmatrix_trans(words, 4 * t)
    store4(target, 4 * t, shuffle_xor(d[0], 1), shuffle_down(d[1], 2), v[2] + m[0], v[3] + n[1])
    target[t] = rsqrt(v[0]) + quotient(t, source.size)


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_all_assemble(capability):
    from netspec.kernels.cuda import ptx_of
    from netspec.kernels.numba_cuda import array_type

    array = array_type("float32", 1)
    text = ptx_of(every, "float32", None, (array, array), capability)
    for words in (
        "cp.async.cg.shared.global", "cp.async.ca.shared.global", "cp.async.commit_group;", "cp.async.wait_group 0;",
        "ld.shared.v4.f32", "st.global.v4.f32", "mma.sync.aligned.m16n8k8", "mma.sync.aligned.m16n8k16",
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16", "x4.trans.shared.b16", "shfl.sync.bfly.b32", "shfl.sync.down.b32",
        "rsqrt.approx.ftz.f32", "div.u32", ", 16, none; }", f"cvt.{'rn' if capability > (8, 0) else 'rna'}.tf32",
    ):  # fmt: skip
        assert words in text
    assert assemble(text, f"sm_{capability[0]}{capability[1]}")["spills"] == 0


def copy(source, target):
    i = 4 * cuda.grid(1)
    v = load4(source, i)
    store4(target, i, v[0], v[1], v[2], v[3])


@pytest.mark.parametrize(("dtype", "words"), [("uint8", "st.global.v4.u8"), ("float64", "st.global.v2.f64")])
def test_vectors_of_other_elements(dtype, words):
    from netspec.kernels.cuda import ptx_of
    from netspec.kernels.numba_cuda import array_type

    array = array_type(dtype, 1)
    text = ptx_of(copy, "float32", None, (array, array), (8, 0))
    assert words in text


def test_a_kernel_that_reaches_another_instruction_is_another_kernel():
    """Factories make kernels of one text that differ by what their closures hold."""
    digests = {prepare(_converted(convert), "float32").digest for convert in (to_tf32, mma_tf32, mma_bf16)}
    assert len(digests) == 3


def _converted(convert):
    def kernel(x):
        x[0] = convert(x[1])

    return kernel
