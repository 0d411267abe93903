"""Images as the network reads them: bytes to floats, the mean image subtracted, scaled."""

from netspec.contract.kernel import cuda, forward
from netspec.ops.base import Operation


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

    @forward("cuda", over="image", axes=(0, 1, 2, 3), writes="image", threads=256)
    def prepare_cuda(raw, mean, image, scale):
        i = cuda.grid(1)
        height, width, channels = image.shape[1:]
        if i < image.size:
            c = i % channels
            w = i // channels % width
            h = i // (channels * width) % height
            b = i // (channels * width * height)
            image[b, h, w, c] = (raw[b, h, w, c] - mean[h, w, c]) * scale
