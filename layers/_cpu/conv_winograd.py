"""Convolution on CPUs by Winograd's method, the variants ``winograd`` and ``winograd_*`` (Lavin and Gray 2016).

F(4x4, 3x3) takes 2.25 products a result in place of 9, F(5x5, 3x3) 1.96, F(3x3, 5x5) 5.4 in place of 25, F(4x4, 5x5)
4, less what tiles over ragged edges waste. d_x is the same with flipped filters, the weight gradient is the algorithm
transposed. With a stride windows are 3 x 3 cells of stride x stride pixels, each a pixel of so many times the channels.
"""

from functools import cache

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import bias_row, conv_gemm, split_batch
from netspec.layers._cpu.implicit_gemm import MAX_MR, MAX_NR
from netspec.layers._cpu.winograd import (
    GAP,
    MAX_LANES,
    TILES_AT_ONCE,
    TILES_OF_GRADIENT,
    convolve,
    convolve_filters,
    correlate,
    tiles,
    transform_filters,
    whole_vectors,
)
from netspec.layers._cpu.winograd_forms import F3x5, F4x3, F4x5, F5x3, Form, points
from netspec.layers._window import Window
from netspec.plugin import Variant, Workspace, backward, forward

BOUND, WIDER = 2e-5, 5e-5
"""Errors of F(4x4, 3x3) and of the others. Seen: 4e-6 and 1.5e-5 on random numbers of 256 channels."""
FEWEST, SAVED, MANY, ENOUGH = 16, 1.5, 24, 16
"""Channels and filters of a group, factor of products saved, and tiles of a batch from which on the transforms pay;
fewer tiles are enough where filters are transformed once for many batches."""
SHARES, QUARTERS = 8, 4
"""Blocks of a batch, or a multiple of so many, and of a single image: so many workers have something to do."""
CLEARLY = 0.9
"""Share of the products of F(4x4, 3x3) up to which larger tiles are worth their larger errors."""


def _supports(form: Form, layer, t):
    """Whether the form can run these shapes, and is likely to be faster there than the variant ``direct``."""
    window = layer.window(t)
    fits = t.x.dtype == "float32" and window.size == (form.size, form.size) and window.stride == (1, 1)
    return fits and all(_pays(form, layer, t, image) for image in (t.x, t.y))


def _larger_than(smaller: Form):
    """Supports larger tiles where they take clearly fewer products than smaller ones, whose errors are smaller."""

    def supports(form: Form, layer, t):
        return _supports(form, layer, t) and all(
            points(form) * _tiles(form, image) < CLEARLY * points(smaller) * _tiles(smaller, image)
            for image in (t.x, t.y)
        )

    return supports


def _supports_strided(form: Form, layer, t):
    window, step = layer.window(t), layer.window(t).stride_h
    fits = t.x.dtype == "float32" and window.stride == (step, step) and step > 1
    return fits and {-(-size // step) for size in window.size} == {form.size} and _pays(form, layer, t, t.y)


def _pays(form, layer, t, image):
    many = MANY if layer.phase == "train" else ENOUGH
    enough = min(_group(layer, t)) >= FEWEST and image.shape[0] * _tiles(form, image) >= many
    window = layer.window(t)
    direct = image.shape[1] * image.shape[2] * window.area / (window.stride_h * window.stride_w)
    return enough and direct >= SAVED * points(form) * _tiles(form, image)


def _group(layer, t):
    """Channels of a group's cells, and its filters."""
    depth, window = t.weight.shape[2], layer.window(t)
    return depth * window.stride_h * window.stride_w, t.weight.shape[3] * depth // t.x.shape[3]


def _tiles(form, image):
    return tiles(form, image.shape[1]) * tiles(form, image.shape[2])


def _images(form, image):
    """Images of one block, whose tiles make one set of products where images are small; eight blocks or a multiple."""
    most = max(1, TILES_AT_ONCE // _tiles(form, image))
    eights = -(-image.shape[0] // (SHARES * most))
    return -(-image.shape[0] // (SHARES * eights))


def _rows(form, image):
    """Rows of results of one block; a single image is cut, too, between tiles."""
    if image.shape[0] == 1:
        return -(-tiles(form, image.shape[1]) // QUARTERS) * form.tile
    return _images(form, image) * image.shape[1]


def _panels(share):
    """A multiple of any CPU's register tile for so many filters."""
    return MAX_NR if share % MAX_NR == 0 else 32


def _filters_of_block(t):
    """Filters of one block, whole panels."""
    panels = _panels(t.weight.shape[3] * t.weight.shape[2] // t.x.shape[3])
    return panels * max(1, t.y.shape[3] // (QUARTERS * panels))


def _is_one_image(layer, t):
    """Whether it is a single image, of groups of whole panels, and nothing is trained."""
    share = _group(layer, t)[1]
    return layer.phase != "train" and t.x.shape[0] == 1 and share % _panels(share) == 0


def _padded(form, image, channels):
    height, width = (tiles(form, length) * form.tile + form.size - 1 for length in image.shape[1:3])
    return height * width * channels + MAX_LANES


def _products(form, image, inner, outputs):
    """Padded images, transformed tiles and filters of a convolution; so that any CPU's vectors and tiles have room."""
    count, each = min(TILES_AT_ONCE, _images(form, image) * _tiles(form, image)), points(form)
    return {
        "padded": _padded(form, image, inner),
        "v": each * (count * whole_vectors(inner) + GAP),
        "m": each * (count * (outputs + MAX_NR) + GAP),
    }


def _for_gradient(form, t, depth, share):
    """Elements that the weight gradient needs."""
    terms, each = min(TILES_OF_GRADIENT, chunk_images(t.x.shape[0]) * _tiles(form, t.y)), points(form)
    return {
        "padded": _padded(form, t.y, depth),
        "padded_dy": _padded(form, t.y, share),
        "v": each * (terms * whole_vectors(depth + MAX_MR) + GAP),
        "slopes": each * (terms * (share + MAX_NR) + GAP),
        "m": each * ((depth + MAX_MR) * (share + MAX_NR) + GAP),
    }


def _workspace(form: Form, layer, t, direction):
    (depth, share), groups = _group(layer, t), t.x.shape[3] // t.weight.shape[2]
    is_forward, strided = direction == "forward", layer.window(t).stride != (1, 1)
    image, inner, outputs = (t.y, depth, share) if is_forward else (t.x, share, depth)
    sizes = [] if is_forward else [_for_gradient(form, t, depth, share)]
    spaces = {} if is_forward else split_batch.workspace(t)
    if is_forward or not strided:
        sizes.append(_products(form, image, inner, outputs))
        spaces["packed"] = Workspace((groups, points(form) * (inner * (outputs + MAX_NR) + GAP)))
        spaces["start_row"] = Workspace((groups, outputs + MAX_NR))
    else:
        spaces |= conv_gemm.d_x_workspace(t)
    names = dict.fromkeys(name for found in sizes for name in found)
    member = {name: max(found.get(name, 0) for found in sizes) for name in names}
    member["tile"] = max(form.tile, form.size) ** 2 * MAX_LANES
    offsets = max(TILES_AT_ONCE, whole_vectors(depth)) + 2 * MAX_MR
    return {
        **spaces,
        **{name: Workspace((size,), per="member") for name, size in member.items()},
        "offsets": Workspace((2, offsets), "int64", "member"),
    }


def _marked(direction, form, function, **options):
    """A kernel of the form, named after it."""
    function.__name__ = f"{function.__name__}_{form.tile}x{form.size}"
    return direction("cpu", **options)(function)


@cache
def _forward(form: Form):
    def pack_winograd(start, stop, weight, packed, tile, groups, window: Window):
        stride, depth = window.stride_h, weight.shape[2]
        for g in range(groups):
            for c in range(start, stop):
                for cell in range(stride * stride):
                    transform_filters(form, weight, packed[g], cell * depth + c, g, groups, stride, tile)

    def forward_winograd(start, stop, x, y, packed, start_row, padded, v, m, offsets, tile, groups, window: Window):
        scratch, pad = (padded, v, m, offsets, tile), (window.pad_top, window.pad_left)
        for g in range(groups):
            filters = (packed[g], start_row[g])
            convolve(form, x, y, (start, stop), g, groups, filters, scratch, pad, window.stride_h)

    return (
        *bias_row.FORWARD,
        _marked(forward, form, pack_winograd, over="weight", axes=2, block=16, writes="packed"),
        _marked(forward, form, forward_winograd, over="y", axes=(0, 1), block=lambda t: _rows(form, t.y), writes="y"),
    )


@cache
def _forward_of_filters(form: Form):
    def forward_filters(start, stop, x, y, packed, start_row, padded, v, m, offsets, tile, groups, window: Window):
        scratch, pad, share = (padded, v, m, offsets, tile), (window.pad_top, window.pad_left), y.shape[3] // groups
        for g in range(start // share, (stop - 1) // share + 1):
            outputs, filters = (max(start - g * share, 0), min(stop - g * share, share)), (packed[g], start_row[g])
            convolve_filters(form, x, y, outputs, g, groups, filters, scratch, pad, window.stride_h)

    marked = _marked(forward, form, forward_filters, over="y", axes=3, block=_filters_of_block, writes="y")
    return (*_forward(form)[:-1], marked)


@cache
def _d_x(form: Form):
    def pack_flipped_winograd(start, stop, weight, packed, tile, groups):
        share = weight.shape[3] // groups
        for f in range(start, stop):
            transform_filters(form, weight, packed[f // share], f % share, f // share, groups, 0, tile)

    def d_x_winograd(start, stop, dy, d_x, packed, start_row, padded, v, m, offsets, tile, groups, window: Window):
        scratch, most = (padded, v, m, offsets, tile), form.size - 1
        for g in range(groups):
            filters, pad = (packed[g], start_row[g]), (most - window.pad_top, most - window.pad_left)
            convolve(form, dy, d_x, (start, stop), g, groups, filters, scratch, pad, 1)

    return (
        *bias_row.BACKWARD,
        _marked(backward, form, pack_flipped_winograd, over="weight", axes=3, block=16, writes="packed"),
        _marked(backward, form, d_x_winograd, over="d_x", axes=(0, 1), block=lambda t: _rows(form, t.x), writes="d_x"),
    )


@cache
def _d_weight(form: Form):
    def d_weight_chunk_winograd(
        start, stop, x, dy, partials, padded, padded_dy, v, slopes, m, offsets, tile, chunk_images, groups,
        window: Window,
    ):  # fmt: skip
        scratch, pad = (padded, padded_dy, v, slopes, m, offsets, tile), (window.pad_top, window.pad_left)
        sizes = (window.size_h, window.size_w, window.stride_h)
        for chunk in range(start, stop):
            images = (chunk * chunk_images, min((chunk + 1) * chunk_images, x.shape[0]))
            for g in range(groups):
                correlate(form, x, dy, images, g, groups, partials[chunk], scratch, pad, sizes)

    chunks = _marked(backward, form, d_weight_chunk_winograd, over="partials", axes=0, writes="partials")
    return (chunks, *split_batch.KERNELS)


def _variant(name, form: Form, able, bound):
    return Variant(
        name,
        kernels=(*_forward(form), *_d_x(form), *_d_weight(form)),
        supports=lambda layer, t: able(form, layer, t),
        workspace=lambda layer, t, direction: _workspace(form, layer, t, direction),
        scalars=lambda layer, t: {"chunk_images": chunk_images(t.x.shape[0])},
        bound=bound,
    )


def _of_one_image(name, form: Form, able, bound):
    """Blocks of filters in place of rows, so that the transformed filters, most of the bytes, are read once."""
    return Variant(
        f"{name}_one_image",
        kernels=_forward_of_filters(form),
        supports=lambda layer, t: _is_one_image(layer, t) and able(form, layer, t),
        workspace=lambda layer, t, direction: _workspace(form, layer, t, direction),
        bound=bound,
    )


_STRIDED = F5x3()
VARIANTS = (
    _of_one_image("winograd_5x5", F5x3(), _larger_than(F4x3()), WIDER),
    _of_one_image("winograd", F4x3(), _supports, BOUND),
    _of_one_image("winograd_4x4_of_5", F4x5(), _larger_than(F3x5()), WIDER),
    _of_one_image("winograd_of_5", F3x5(), _supports, WIDER),
    _of_one_image("winograd_strided", _STRIDED, _supports_strided, WIDER),
    _variant("winograd_5x5", F5x3(), _larger_than(F4x3()), WIDER),
    _variant("winograd", F4x3(), _supports, BOUND),
    _variant("winograd_4x4_of_5", F4x5(), _larger_than(F3x5()), WIDER),
    _variant("winograd_of_5", F3x5(), _supports, WIDER),
    Variant(
        "winograd_strided",
        kernels=(*_forward(_STRIDED), conv_gemm.d_x_gemm, *_d_weight(_STRIDED)),
        supports=lambda layer, t: _supports_strided(_STRIDED, layer, t),
        workspace=lambda layer, t, direction: _workspace(_STRIDED, layer, t, direction),
        scalars=conv_gemm.VARIANT.scalars,
        bound=WIDER,
    ),
)
"""With a stride d_x is left to im2col's patches."""
