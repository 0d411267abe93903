"""Batches of images that a device holds: each row is cut from one of them, mirrored and moved."""

from netspec.contract.kernel import copy16, cuda, device, forward, quotient, store4
from netspec.ops.base import Operation


@device
def source_row(row, top, height, edge):
    """The row of the image that is shown in a row of the crop; -1: none."""
    if edge:
        return top + min(max(row, 0), height - 1)
    return top + row if 0 <= row < height else -1


@device
def source_column(column, left, width, mirrored, edge):
    """Likewise for a column."""
    at = min(max(column, 0), width - 1) if edge else column
    if at < 0 or at >= width:
        return -1
    return left + (width - 1 - at if mirrored else at)


@device
def element(images, places, n, row, place, height, width):
    """One element of a row of image ``n``; ``place`` counts elements of the row."""
    channels = images.shape[3]
    column = quotient(place, channels)
    y = source_row(row + places[n, 4], places[n, 1], height, places[n, 6])
    x = source_column(column + places[n, 5], places[n, 2], width, places[n, 3], places[n, 6])
    if places[n, 0] < 0 or y < 0 or x < 0:
        return 0
    return images[places[n, 0], y, x, place - column * channels]


@device
def four(images, places, raw, n, at, row_size):
    """Four neighbouring elements of a row of the batch, of which ``at`` counts those of image ``n``."""
    height, width = raw.shape[1], raw.shape[2]
    row = quotient(at, row_size)
    place = at - row * row_size
    a = element(images, places, n, row, place, height, width)
    b = element(images, places, n, row, place + 1, height, width)
    c = element(images, places, n, row, place + 2, height, width)
    d = element(images, places, n, row, place + 3, height, width)
    store4(raw, n * height * row_size + at, a, b, c, d)


class Gather(Operation):
    """raw[n] = what ``places[n]`` says of ``images``, see netspec.contract.augmentation.PLACE.

    images (M, SH, SW, C) and raw (N, H, W, C) uint8, places (N, 7) int32.
    """

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("gather", {})]

    @forward("cpu", over="raw", axes=0, writes="raw")
    def gather_cpu(start, stop, images, places, raw):
        height, width = raw.shape[1], raw.shape[2]
        for n in range(start, stop):
            image, top, left, mirrored = places[n, 0], places[n, 1], places[n, 2], places[n, 3]
            down, right, edge = places[n, 4], places[n, 5], places[n, 6]
            for row in range(height):
                y = source_row(row + down, top, height, edge)
                if image < 0 or y < 0:
                    raw[n, row] = 0
                elif mirrored or right:
                    for column in range(width):
                        x = source_column(column + right, left, width, mirrored, edge)
                        for c in range(raw.shape[3]):
                            raw[n, row, column, c] = images[image, y, x, c] if x >= 0 else 0
                else:
                    raw[n, row] = images[image, y, left : left + width]

    @forward("cuda", over="raw", axes=(0, 1, 2, 3), writes="raw", threads=256, per_thread=16)
    def gather_cuda(images, places, raw):
        # a thread takes 16 bytes: at once where the images are shown as they lie, else four by four
        row_size = raw.shape[2] * raw.shape[3]
        size, place = raw.shape[1] * row_size, cuda.grid(1)
        whole = images.shape[1] == raw.shape[1] and images.shape[2] == raw.shape[2] and size % 16 == 0
        if row_size % 4 == 0 and size % 16 == 0:
            parts = size // 16
            while place < raw.shape[0] * parts:
                n = quotient(place, parts)
                at = 16 * (place - n * parts)
                moved = places[n, 3] != 0 or places[n, 4] != 0 or places[n, 5] != 0
                if whole and not moved and places[n, 0] >= 0:
                    copy16(raw, n * size + at, images, places[n, 0] * size + at)
                else:
                    for number in range(4):
                        four(images, places, raw, n, at + 4 * number, row_size)
                place += cuda.gridsize(1)
        else:
            while place < raw.shape[0] * size:
                n = quotient(place, size)
                at = place - n * size
                row = quotient(at, row_size)
                raw.flat[place] = element(images, places, n, row, at - row * row_size, raw.shape[1], raw.shape[2])
                place += cuda.gridsize(1)
