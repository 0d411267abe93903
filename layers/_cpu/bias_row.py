"""The row that every accumulator of the micro-kernel starts from: the group's biases, or zeros."""

from netspec.plugin import backward, forward


@forward("cpu", over="start_row", axes=0, writes="start_row", when={"bias": True})
def bias_row(start, stop, bias, start_row, groups):
    share = bias.size // groups
    start_row[start:stop] = 0
    for g in range(start, stop):
        for f in range(share):  # a slice could be a copy of itself, for which numba's code would allocate
            start_row[g, f] = bias[g * share + f]


def zero_row(start, stop, start_row):
    start_row[start:stop] = 0


FORWARD = (bias_row, forward("cpu", over="start_row", axes=0, writes="start_row", when={"bias": False})(zero_row))
BACKWARD = (backward("cpu", over="start_row", axes=0, writes="start_row")(zero_row),)
