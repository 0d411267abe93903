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
        # a thread takes four neighbours of up to four images, so that the mean is read once for these
        images, fours = image.shape[0], mean.size // 4
        if mean.size % 4 == 0:
            for place in range(cuda.grid(1), (images + 3) // 4 * fours, cuda.gridsize(1)):
                group = quotient(place, fours)
                n, i = 4 * group, 4 * (place - group * fours)
                m, at = load4(mean, i), n * mean.size + i
                if n + 4 <= images:
                    a, b = load4(raw, at), load4(raw, at + mean.size)
                    c, d = load4(raw, at + 2 * mean.size), load4(raw, at + 3 * mean.size)
                    write(image, at, a, m, scale)
                    write(image, at + mean.size, b, m, scale)
                    write(image, at + 2 * mean.size, c, m, scale)
                    write(image, at + 3 * mean.size, d, m, scale)
                else:
                    for j in range(at, image.size, mean.size):
                        write(image, j, load4(raw, j), m, scale)
        else:
            width, channels = mean.shape[1:]
            for i in range(cuda.grid(1), mean.size, cuda.gridsize(1)):
                pixel = quotient(i, channels)
                h, c = quotient(pixel, width), i - pixel * channels
                w = pixel - h * width
                for n in range(images):
                    image[n, h, w, c] = (raw[n, h, w, c] - mean[h, w, c]) * scale
