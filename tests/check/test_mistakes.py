"""Mistakes of authors, of kernels for GPUs and of declarations: each is told once, with the lines that it is in.

The layers are those of plugins/wrong_memory.py, wrong_code.py, wrong_reductions.py, wrong_storage.py and
wrong_declarations.py.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from places import PLUGINS, ROOT
from told_lines import assert_told, layers_of, marked

from netspec.check import run
from netspec.device.gpus import finds_compiler
from netspec.errors import NetspecError
from netspec.registry import load_plugin

NAMES = ("wrong_memory", "wrong_code", "wrong_reductions", "wrong_storage", "wrong_declarations")
FILES = {layer: name for name in NAMES for layer in layers_of(name)}
"""The file of each layer."""
UNDEFINED = "what a kernel writes (it is overwritten, not added to), scratch memory and shared arrays begin undefined"
OF_KERNELS = {
    "cuda_race": "has a race on tile[1] (tile is (128,)): read by thread 0 of block 0, written by thread 1 of block 0, "
    "with no barrier between; put cuda.syncthreads() between the two\n",
    "cuda_race_in_helper": "has a race on tile[0, 1] (tile is (2, 128)): read by thread 0",
    "cuda_race_in_block": "has a race on d_x[0] (d_x is (240,)): written by thread 1 of block 0, written by thread 0",
    "cuda_race_over_blocks": "with no barrier between; blocks run in any order, at once: what one of them writes, no",
    "cuda_barrier": "block 1, thread 0 waits for threads of its block that never come; all threads of a block must",
    "cuda_barriers": "block 0, thread 0 waits for threads of its block that never come",
    "cuda_reads_outside": "forward_cuda reads outside an array: x[240] (x is (240,)) (block 1, thread 111)",
    "cuda_writes_outside": "forward_cuda writes outside an array: y[240] (y is (240,)) (block 1, thread 112)",
    "cuda_writes_outside_axes": "writes outside an array: y[5, 0] (y is (5, 4))",
    "cuda_shared_outside": "writes outside an array: tile[128] (tile is (128,)) (block 0, thread 127)",
    "cuda_shared_next": "reads outside an array: left[128] (left is (128,))",
    "cuda_shared_unset": f"reads tile[128] (tile is (256,)), which is never written (block 0, thread 0); {UNDEFINED}",
    "cuda_reads_output": f"reads d_x[0] (d_x is (240,)), which is never written (block 0, thread 0); {UNDEFINED}",
    "cuda_workspace_unset": "reads scratch[0] (scratch is (240,)), which is never written",
    "cuda_misaligned": "an unaligned access of 16 bytes: 4 elements from x[1] (x is (240,)) (block 0, thread 1); load4",
    "cuda_shuffle": "has a shuffle or vote that some lanes do not reach: block 1, thread 96 waits for lanes",
    "cuda_shared_shape": "no implementation of shared.array(int64, float32) (its shape must be a constant",
    "cuda_unknown_attribute": "cannot be compiled for GPUs: Unknown attribute 'length' of type array(float32, 1d, C)\n"
    "    if i < x.length:",
    "cuda_unknown_function": "cannot be compiled for GPUs: module 'numba.cuda' has no attribute 'sync'",
    "cuda_wrong_type": "cannot be compiled for GPUs: no implementation of exp(array(float32, 1d, C))",
    "cuda_wrong_helper": "no implementation of getitem(float32, 0) (arrays and tuples alone have elements)",
    "cuda_unsupported": "cannot be compiled for GPUs: Use of unsupported opcode (IMPORT_NAME) found",
    "cuda_axes": "(cannot index array(float32, 1d, C) with 2 indices: UniTuple(int64 x 2))",
    "cuda_unassigned": "Variable 'total' is not defined",
    "cuda_allocates": "no implementation of zeros(4) (kernels allocate nothing: take cuda.local.array, cuda",
    "cuda_arguments": "cannot be compiled for GPUs: ",
    "cuda_undefined": "forward_cuda uses 'scale', which is not defined",
    "cuda_unmarked": "forward_cuda calls unmarked(), which is not marked @device",
    "cuda_grid": "y[6, 8] is never written (272 of 400 elements): all of 'y' is left to forward_cuda",
    "cuda_threads": "cannot be launched: 2048 threads in a block, of at most 1024",
    "cuda_shared_size": "cannot be launched: 280,000 bytes of shared memory, of at most 232,448",
    "cuda_unwritten": "is never written (121 of 240 elements): all of 'd_x' is left to backward_cuda",
    "cuda_sign": "expected -2.96802616: the CUDA kernels (plain) differ from the plain CPU kernels",
    "cuda_changes_input": "changes 'x', which it does not name among what it writes",
    "reduce_no_barrier": "has a race on sums[32] (sums is (128,)): read by thread 0 of block 0, written by thread 32",
    "reduce_twice": "has a race on sums[0] (sums is (128,)): written by thread 0 of block 0, read by thread 127",
    "reduce_first_threads": "inputs (3, 300)); the error relative to the tensor is",
    "reduce_odd_tree": "expected 1.34814804: the CUDA kernels (plain) differ from the plain CPU kernels",
    "reduce_early_return": "has a barrier that some threads do not reach: block 0, thread 0 waits for threads of its",
    "reduce_images": "y[1, 1, 0] is never written (15 of 30 elements): all of 'y' is left to forward_cuda",
    "reduce_whole_blocks": "y[2, 296] is never written (4 of 900 elements): all of 'y' is left to forward_cuda",
    "cuda_atomics": "bias_cuda adds floats atomically: threads come in any order",
}
"""Of CUDA kernels: what the check of them says."""
IN_DOUBLE = {
    "reduce_whole_number": "computes in float64 on GPUs (1 div.rn.f64, 1 sub.f64): a float divided by, multiplied",
    "reduce_added_one": "computes in float64 on GPUs (2 add.f64, 1 sub.f64): a float divided by, multiplied",
}
"""Of CUDA kernels in which whole numbers make floats double."""
OF_STORAGE = {
    "cuda_narrow_sums": ": with activations of bfloat16 the CUDA kernels (plain) differ from the plain CPU kernels",
    "cuda_narrow_copies": "makes an unaligned access of 4 bytes: 2 elements from x[1]",
}
"""Of CUDA kernels that are right in float32: what the check with bfloat16 says."""
ON_CPUS = "wrong_narrow_sums"
"""Of CPU kernels the same: tests/check/test_suite.py has it."""
OF_DECLARATIONS = {
    "uneven": ("shards", "'shift' is (3,) and cut along axis -1, which two devices cannot halve: its size must follow"),
    "unsaid_fan": ("shapes", "parameter 'shift': he asks for a fan, and its Param says no fan_in"),
    "undivided": ("shards", "if 'units' counts something of the whole layer, name it in ``divided``, or say by"),
    "mixes": ("shards", "channels of 'y' depend on channels of the other shard: a layer that reads several channels"),
    "mixes_narrower": ("shards", "units: 6; inputs (2, 5, 6, 4); a layer that reads several channels for one has"),
    "mixes_without_groups": ("shards", "the layer mixes channels without ``groups`` in its attributes"),
    "cuda_wrong_name": ("all_outputs", "parameter 'out' is no tensor, attribute or scalar"),
    "channelwise_type": ("indices", "scaled_cpu cannot be compiled for CPUs: Unknown attribute 'value' of type float"),
}
"""Of what the class declares, of parameters and scalar functions: the check that fails and what it says."""
needs_compiler = pytest.mark.skipif(not finds_compiler(), reason="the CUDA compiler is not installed")


@pytest.fixture(scope="module", autouse=True)
def plugin() -> None:
    """The layers are known while these tests run."""
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    for name in dict.fromkeys(FILES.values()):
        load_plugin(PLUGINS / f"{name}.py")


@needs_compiler
@pytest.mark.parametrize("layer_type", OF_KERNELS)
def test_a_mistake_in_a_cuda_kernel_is_told_once_with_its_lines(layer_type: str) -> None:
    assert list(marked(PLUGINS / f"{FILES[layer_type]}.py", layer_type))
    assert_told(FILES[layer_type], layer_type, "cuda", OF_KERNELS[layer_type])


@needs_compiler
@pytest.mark.parametrize("layer_type", IN_DOUBLE)
def test_double_precision_is_told_once(layer_type: str) -> None:
    assert_told(FILES[layer_type], layer_type, "cuda_float64", IN_DOUBLE[layer_type])


@needs_compiler
@pytest.mark.parametrize("layer_type", OF_STORAGE)
def test_a_mistake_that_shows_in_bfloat16_is_told_once(layer_type: str) -> None:
    assert_told(FILES[layer_type], layer_type, "cuda_bfloat16", OF_STORAGE[layer_type])


@pytest.mark.parametrize("layer_type", OF_DECLARATIONS)
def test_another_mistake_is_told_once(layer_type: str) -> None:
    assert_told(FILES[layer_type], layer_type, *OF_DECLARATIONS[layer_type])


@needs_compiler
def test_the_message_in_the_docs_is_the_one_that_is_given() -> None:
    (message,) = (result.message for result in run("cuda_race_in_helper") if result.status == "failed")
    told = [re.sub(r"/\S*/wrong_memory\.py:\d+", "reverse.py:LINE", line) for line in message.splitlines()]
    page = re.sub(r"reverse\.py:\d+", "reverse.py:LINE", (ROOT / "docs" / "plugins.md").read_text())
    assert textwrap.indent("\n".join(told), "    ") in page


def test_every_layer_of_the_files_is_run() -> None:
    assert sorted(FILES) == sorted([*OF_KERNELS, *IN_DOUBLE, *OF_STORAGE, *OF_DECLARATIONS, ON_CPUS])


AT_IMPORT = {
    "a wrong option": (
        '@forward("cpu", over="x", writez="y")',
        "a forward kernel has no option 'writez' (did you mean 'writes'? there are over, writes, axes, block, threads",
    ),
    "a missing option": ('@backward("cpu", over="x")', "a backward kernel needs the option 'writes': what it writes"),
    "no parentheses": ("@forward", "a forward kernel is marked @forward('cpu' or 'cuda', over=..., writes=...)"),
    "an unknown backend": ('@forward("gpu", over="x", writes="y")', "kernels are marked 'cpu' or 'cuda', not ('gpu',)"),
    "an unknown phase": (
        '@forward("cpu", over="x", writes="y", phases="training")',
        "phases are train, eval, predict, not 'training'",
    ),
    "parameters of a CUDA kernel": (
        '@forward("cpu", over="x", writes="y")\n    def other(x, y):\n        pass\n\n    @forward("cpu", over="y", '
        'writes="y")',
        "Odd.other: the first parameters of this kernel must be start, stop",
    ),
}


@pytest.mark.parametrize("name", ["mixes_channel", "divide", "example", "in_place", "output", "kink", "param"])
def test_a_misspelt_declaration_names_its_class(name: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text(f"from netspec.plugin import Layer\n\nclass Odd(Layer):\n    {name} = ()\n")
    with pytest.raises(NetspecError, match=rf"odd.py:3: .*'{name}' is nothing that a layer declares; did you mean"):
        load_plugin(file)


@pytest.mark.parametrize("name", AT_IMPORT)
def test_a_mistake_in_a_mark_names_its_line(name: str, tmp_path: Path) -> None:
    mark, words = AT_IMPORT[name]
    file = tmp_path / "odd.py"
    file.write_text(
        textwrap.dedent('''\
        """A layer with an odd mark."""
        from netspec.plugin import Layer, backward, forward, register

        @register("odd")
        class Odd(Layer):
            """y = x"""

            {}
            def forward_cpu(start, stop, x, y):
                y[start:stop] = x[start:stop]
        ''').format(mark)
    )
    with pytest.raises(NetspecError) as caught:
        load_plugin(file)
    assert f"{file}:8: cannot be imported: TypeError: " in str(caught.value) and words in str(caught.value)
