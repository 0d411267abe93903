"""Images as the network reads them: bytes to floats, the mean image subtracted, colours altered, scaled."""

from netspec.contract.kernel import cuda, device, forward, load4, quotient, store4
from netspec.ops.base import Operation


@device
def write(image, i, raw, mean, scale):
    """Four elements of an image."""
    a, b = (raw[0] - mean[0]) * scale, (raw[1] - mean[1]) * scale
    store4(image, i, a, b, (raw[2] - mean[2]) * scale, (raw[3] - mean[3]) * scale)


@device
def shift(components, tint, n, c):
    """What is added to channel ``c`` of image ``n``."""
    total = components[c, 0] * tint[n, 1]
    for k in range(1, components.shape[0]):
        total += components[c, k] * tint[n, 1 + k]
    return total


@device
def write_tinted(image, i, raw, mean, scale, tint, first, second, third):
    """Four elements of an image of three channels, which begin with the channel of the first row of components."""
    gain = tint[0] + 1.0
    p = first[0] * tint[1] + first[1] * tint[2] + first[2] * tint[3]
    q = second[0] * tint[1] + second[1] * tint[2] + second[2] * tint[3]
    r = third[0] * tint[1] + third[1] * tint[2] + third[2] * tint[3]
    a, b = ((raw[0] - mean[0]) * gain + p) * scale, ((raw[1] - mean[1]) * gain + q) * scale
    store4(image, i, a, b, ((raw[2] - mean[2]) * gain + r) * scale, ((raw[3] - mean[3]) * gain + p) * scale)


@device
def row_of(components, c):
    """A row of three, in a cycle."""
    c = c - 3 if c > 2 else c
    return components[c, 0], components[c, 1], components[c, 2]


class Prepare(Operation):
    """image = (raw - mean) * scale; raw (N, H, W, C) uint8, mean (H, W, C) float32.

    Of sequences raw is (N, F, H, W, C) and mean (F, H, W, C).

    With colours altered, image[n] = ((raw[n] - mean) * (1 + tint[n, 0]) + components tint[n, 1:]) * scale; tint
    (N, 1 + C) and components (C, C) float32. Where tint is 0 that is the same.
    """

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("tint" if any(one.tensor == "tint" for one in args) else "prepare", {})]

    @forward("cpu", over="image", axes=0, writes="image")
    def prepare_cpu(start, stop, raw, mean, image, scale):
        flat_mean = mean.reshape(-1)
        for n in range(start, stop):
            source, target = raw[n].reshape(-1), image[n].reshape(-1)
            for i in range(flat_mean.size):
                target[i] = (source[i] - flat_mean[i]) * scale

    @forward("cuda", over="image", axes=(0, 1, 2, 3), writes="image", threads=256, per_thread=16)
    def prepare_cuda(raw, mean, image, scale):
        # a thread takes four neighbours of four images, so that the mean is read once for these; behind the last
        # image it takes that one again
        last, size, fours, place = image.shape[0] - 1, mean.size, mean.size // 4, cuda.grid(1)
        if size % 4 == 0:
            while place < (last + 4) // 4 * fours:
                group = quotient(place, fours)
                n, i = 4 * group, 4 * (place - group * fours)
                j, k = i + n * size, i + min(n + 1, last) * size
                p, q = i + min(n + 2, last) * size, i + min(n + 3, last) * size
                m, a, b, c, d = load4(mean, i), load4(raw, j), load4(raw, k), load4(raw, p), load4(raw, q)
                write(image, j, a, m, scale)
                write(image, k, b, m, scale)
                write(image, p, c, m, scale)
                write(image, q, d, m, scale)
                place += cuda.gridsize(1)
        else:
            while place < size:
                for n in range(last + 1):
                    i = place + n * size
                    image.flat[i] = (raw.flat[i] - mean.flat[place]) * scale
                place += cuda.gridsize(1)

    @forward("cpu", over="image", axes=0, writes="image")
    def tint_cpu(start, stop, raw, mean, tint, components, image, scale):
        rows, channels = mean.shape[0], mean.shape[-1]
        size = mean.size // rows
        flat_mean = mean.reshape((rows, size))
        for n in range(start, stop):
            source, target, gain = raw[n].reshape((rows, size)), image[n].reshape((rows, size)), tint[n, 0] + 1.0
            first = target[0]  # holds what is added to a row, until it is its turn: so all rows are vector loops
            for c in range(channels):
                added = shift(components, tint, n, c)
                for i in range(c, size, channels):
                    first[i] = added
            for h in range(rows):
                row = rows - 1 - h
                pixels, mean_row, out = source[row], flat_mean[row], target[row]
                for i in range(size):
                    out[i] = ((pixels[i] - mean_row[i]) * gain + first[i]) * scale

    @forward("cuda", over="image", axes=(0, 1, 2, 3), writes="image", threads=256, per_thread=16)
    def tint_cuda(raw, mean, tint, components, image, scale):
        # a thread takes four neighbours of four images, as in prepare_cuda
        last, size, fours, place = image.shape[0] - 1, mean.size, mean.size // 4, cuda.grid(1)
        channels = mean.shape[-1]
        if size % 4 == 0 and channels == 3:
            while place < (last + 4) // 4 * fours:
                group = quotient(place, fours)
                n, i = 4 * group, 4 * (place - group * fours)
                second, third, fourth = min(n + 1, last), min(n + 2, last), min(n + 3, last)
                j, k, p, q = i + n * size, i + second * size, i + third * size, i + fourth * size
                m, a, b, c, d = load4(mean, i), load4(raw, j), load4(raw, k), load4(raw, p), load4(raw, q)
                t, u = load4(tint, 4 * n), load4(tint, 4 * second)
                v, w = load4(tint, 4 * third), load4(tint, 4 * fourth)
                channel = i - 3 * quotient(i, 3)
                x, y, z = row_of(components, channel), row_of(components, channel + 1), row_of(components, channel + 2)
                write_tinted(image, j, a, m, scale, t, x, y, z)
                write_tinted(image, k, b, m, scale, u, x, y, z)
                write_tinted(image, p, c, m, scale, v, x, y, z)
                write_tinted(image, q, d, m, scale, w, x, y, z)
                place += cuda.gridsize(1)
        else:
            while place < size:
                c = place - quotient(place, channels) * channels
                for n in range(last + 1):
                    i = place + n * size
                    value = (raw.flat[i] - mean.flat[place]) * (tint[n, 0] + 1.0)
                    image.flat[i] = (value + shift(components, tint, n, c)) * scale
                place += cuda.gridsize(1)
