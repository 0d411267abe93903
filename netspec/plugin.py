"""The plugin contract: all that a layer file needs, and all that it may import.

A layer is one file with one class. Registering it makes it known to specs, gives it a docs page
(``netspec layers show TYPE``) and a contract suite (``netspec layers check FILE``). There are three rungs of effort:

1. ``Elementwise``: two scalar Python functions, looped over all elements on every backend. ``Channelwise``: the same
   with numbers for each channel, and sums over the pixels of each: see netspec.contract.channelwise. ``Rowwise``: with
   numbers for each row of channels, and sums over everything: see netspec.contract.rowwise.
2. ``Layer`` with kernels: functions marked ``@forward("cpu", ...)``, ``@backward("cuda", ...)`` and so on.
3. Composition: a marked function with ``host=True``, ordinary Python that calls primitives (``ops.gemm`` ...), which
   exist for both backends.

**Kernels** are functions in the class body, without ``self``. Several of one direction run in the order in which
they are written, each after the one before has finished. Options of a mark:

==========  ==========================================================================================================
over        the tensor whose positions are worked through
axes        axes of ``over`` that positions run along; omitted: every element (``flat``)
block       CPU: positions in one call, a number or a function of the layer's tensors; it fixes the rounding, so it may
            depend on shapes alone
threads     CUDA: threads of a block
per_thread  CUDA: positions that a thread works through, 1 where nothing is said
grid        CUDA: blocks, as a function of the tensors, for kernels that place their threads themselves
writes      the tensors written: every element of each must be written
variant     "plain" (the reference, which must also run in float64) or a name of your own for a faster one
each        name of an input in a variadic layer: the pass is repeated for each input, which the kernel calls by it
when        attributes and the values for which the kernel is meant, ``when={"mode": "max"}``, or functions of them;
            inputs in ``mixed`` and whether they are there, ``when={"other": True}``
phases      of train, eval and predict: where it runs
linear      CUDA: every tensor is given as one axis, whatever its shape
host        a function of primitives instead of a compiled kernel; its first parameter is ``ops``
==========  ==========================================================================================================

CPU kernels take ``start, stop`` first, the range of positions of this call, and are single-threaded; a team deals out
the blocks. Of a tensor that the pass is ``over`` a call writes its own positions only: elementwise layers that follow
are run on them at once. CUDA kernels find their place with ``cuda.grid(1)`` and must stay in bounds. All other
parameters are asked for by name:

- inputs, outputs, parameters, state, saved tensors and workspace by their own names, as C-contiguous arrays, batch
  first, channels last, which on GPUs start at a multiple of 256 bytes. In a flat pass those with the shape of ``over``
  have one axis;
- ``d_x`` or ``dx``: the gradient with respect to ``x``; a forward pass has none; a gradient that is written must be
  overwritten whole, never added to: where a tensor has several readers the plan adds the sums;
- ``next_s``: the next value of the state ``s``. No array may be called as another one's gradient or next value is: a
  layer with both ``c`` and ``dc``, or ``m`` and ``next_m``, is refused;
- attributes: numbers in the compute dtype, whole numbers as int64, words are not available (use ``when``);
- whatever ``Layer.scalars`` returns: numbers, and tuples of numbers. A named tuple is taken by a parameter that is
  annotated with its class, ``window: Window``; kernel and helpers then read ``window.stride_h``;
- ``counters``: int64 array, ``counters[ITERATION]`` and ``counters[VALID]``, the number of valid rows of the batch
  (of a layer with ``split: batch`` that of all devices, whose rows those of this one need not be);
- ``key``, ``channel_offset``, ``channel_count``: the key of the layer's random numbers, the number in the whole tensor
  of this shard's first element, which is its first channel unless the batch is cut into replicas or over devices, and
  the channels of the whole layer: ``uniform(key, counters[ITERATION], index)`` with the element's index in the whole
  tensor is the same on any device count.

**NaN and infinities** are never lost, or a step that is not finite could not be told from a good one. Whatever could
change with an element of an input, a parameter or a state, backward of a gradient, is NaN where that element is: on
every backend, in every variant. An infinity gives what IEEE 754 gives, or NaN. Nothing of it reaches another image of
the batch. No comparison with NaN holds: ``0 if x < 0 else x`` passes it on, ``x if x > 0 else 0`` does not. ``max`` and
``min`` of numbers are NaN where an argument is, on CPUs and GPUs. ``nonfinite`` on the class declares what may stay
finite, with the reason.

The **contract suite** runs a layer on its ``examples``: ``({"attrs": {"size": 3}, "inputs": [(2, 5, 6, 4)]},)``, small
shapes with the batch first; an input called ``label`` is int32. Without examples it makes some up from the schema. It
differentiates numerically in float64, compares float32, other variants and CUDA with that, spoils each tensor with NaN
and infinities, deals blocks out in any order, cuts the layer in two and compares the halves with the whole. ``kinks``
says where there is no derivative, ``whole_only`` that the layer cannot be cut, ``bounds`` how far a variant may be off.

**Storage**: with ``train.precision: bf16`` some devices hold activations, their gradients and parameters that are a
``factor`` in bfloat16. In kernels such arrays give float32 (``x[i]``, ``load4``) and round what is written (``y[i] =
v``, ``store4``); ``x.dtype`` is float32's. Sums are kept in variables, which are not rounded; ``outputs`` hand on
``x.dtype``. The network's answer (``probs``, ``prediction``) and reports are float32.

A kernel writes only what ``writes`` names, never allocates, prints or synchronises. Float literals are cast to the
compute dtype. ``math.exp``, ``expm1``, ``tanh`` and ``erf`` of float32 are vectorised on CPUs, where they are off by 2
units in the last place at most: see netspec.kernels.elementary. Helpers that kernels call are plain functions marked
``@device``; names that need numba at import live in a private sibling file and are reached by
``Lazy("netspec.layers._sibling", "name")``.

An **augmentation** is a class of its own kind, registered in the same way: see netspec.contract.augmentation. So is a
**solver**, by whose scalar function parameters are trained: see netspec.contract.solver; and a **composite**, a type of
layer that is made of other layers: see netspec.contract.composite.
"""

from netspec.contract.attrs import boolean, channels, choice, initialiser, integer, integers, number, padding, pair
from netspec.contract.augmentation import Augmentation, Frame, Mix, Tint, View, below, each_below, fraction, normals
from netspec.contract.channelwise import Channelwise, per_channel, per_element
from netspec.contract.composite import Composite
from netspec.contract.elementwise import Elementwise, on_elements
from netspec.contract.kernel import (
    Lazy,
    backward,
    backward_epilogue,
    cuda,
    device,
    epilogue,
    finish,
    forward,
    load4,
    put_others,
    quotient,
    store4,
    store_relaxed,
)
from netspec.contract.layer import Layer, Tensors
from netspec.contract.matrix_products import by_products, matrix_product
from netspec.contract.reduction import lanes_of, max_of_row, sum_of_row
from netspec.contract.rowwise import Rowwise, per_row
from netspec.contract.solver import Solver, learning_rate, weight_decay
from netspec.contract.tensor import Flops, Param, State, Tensor, Workspace
from netspec.contract.tensor_map import Im2col, TensorMap
from netspec.contract.variant import Variant
from netspec.errors import LayerError
from netspec.registry import register

ITERATION, VALID = 0, 1
"""Places in ``counters``: the iteration, counted from 0, and the number of valid rows (the first ones) of the batch."""

uniform, uniforms = (Lazy("netspec.contract.random", name) for name in ("uniform", "uniforms"))
"""``uniform(key, iteration, index)``: a number in [0, 1); ``uniforms`` gives those of index to index + 3, where index
is a multiple of four, for the price of one: see netspec.contract.random."""

rsqrt = Lazy("netspec.kernels.instructions", "rsqrt")
shuffle_xor, shuffle_down, shuffle_up = (
    Lazy("netspec.kernels.instructions", f"shuffle_{name}") for name in ("xor", "down", "up")
)
cp_async4, cp_async8, cp_async16, cp_async_commit, cp_async_wait = (
    Lazy("netspec.kernels.instructions", f"cp_async{name}") for name in ("4", "8", "16", "_commit", "_wait")
)
mma_tf32, mma_bf16, to_tf32, to_bf16x2, ldmatrix, ldmatrix_trans = (
    Lazy("netspec.kernels.instructions", name)
    for name in ("mma_tf32", "mma_bf16", "to_tf32", "to_bf16x2", "ldmatrix", "ldmatrix_trans")
)
"""Instructions of GPUs for CUDA kernels, from 128-bit accesses to tensor cores: see netspec.kernels.instructions."""
bernoulli = Lazy("netspec.contract.random", "bernoulli")
"""``bernoulli(chosen, key, iteration, first, probability)``: whether each number of a run is below, fast on CPUs."""

intrinsic = Lazy("numba.extending", "intrinsic")
"""``numba.extending.intrinsic``, imported when a kernel that uses it is compiled."""

__all__ = [
    "ITERATION",
    "VALID",
    "Augmentation",
    "Channelwise",
    "Composite",
    "Elementwise",
    "Flops",
    "Frame",
    "Im2col",
    "Layer",
    "LayerError",
    "Lazy",
    "Mix",
    "Param",
    "Rowwise",
    "Solver",
    "State",
    "Tensor",
    "TensorMap",
    "Tensors",
    "Tint",
    "Variant",
    "View",
    "Workspace",
    "backward",
    "backward_epilogue",
    "below",
    "bernoulli",
    "boolean",
    "by_products",
    "channels",
    "choice",
    "cp_async4",
    "cp_async8",
    "cp_async16",
    "cp_async_commit",
    "cp_async_wait",
    "cuda",
    "device",
    "each_below",
    "epilogue",
    "finish",
    "forward",
    "fraction",
    "initialiser",
    "integer",
    "integers",
    "intrinsic",
    "lanes_of",
    "ldmatrix",
    "ldmatrix_trans",
    "learning_rate",
    "load4",
    "matrix_product",
    "max_of_row",
    "mma_bf16",
    "mma_tf32",
    "normals",
    "number",
    "on_elements",
    "padding",
    "pair",
    "per_channel",
    "per_element",
    "per_row",
    "put_others",
    "quotient",
    "register",
    "rsqrt",
    "shuffle_down",
    "shuffle_up",
    "shuffle_xor",
    "store4",
    "store_relaxed",
    "sum_of_row",
    "to_bf16x2",
    "to_tf32",
    "uniform",
    "uniforms",
    "weight_decay",
]
