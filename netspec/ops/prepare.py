"""Images as the network reads them: bytes to floats, the mean image subtracted, scaled."""

from netspec.contract.kernel import cuda, device, forward, load4, quotient, store4
from netspec.ops.base import Operation


@device
def write(image, i, raw, mean, scale):
    """Four elements of an image."""
    a, b = (raw[0] - mean[0]) * scale, (raw[1] - mean[1]) * scale
    store4(image, i, a, b, (raw[2] - mean[2]) * scale, (raw[3] - mean[3]) * scale)


class Prepare(Operation):
    """image = (raw - mean) * scale; raw (N, H, W, C) uint8, mean (H, W, C) float32."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("prepare", {})]

    @forward("cpu", over="image", axes=0, writes="image")
    def prepare_cpu(start, stop, raw, mean, image, scale):
        flat_mean = mean.ravel()
        for n in range(start, stop):
            source, target = raw[n].ravel(), image[n].ravel()
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
            width, channels = mean.shape[1:]
            while place < size:
                pixel = quotient(place, channels)
                h, c = quotient(pixel, width), place - pixel * channels
                w = pixel - h * width
                for n in range(last + 1):
                    image[n, h, w, c] = (raw[n, h, w, c] - mean[h, w, c]) * scale
                place += cuda.gridsize(1)
