"""What cost layers have in common: a report that is the sum of its terms over the rows of a batch."""

from netspec.plugin import Workspace, forward


@forward("cpu", over="report", writes="report", phases=("train", "eval"))
def report_cpu(start, stop, rows, report):
    """The sums of ``rows`` (N, terms), in order."""
    for r in range(start, stop):
        total = 0.0
        for i in range(rows.shape[0]):
            total += rows[i, r]
        report[r] = total


def workspace(layer, t, direction):
    """``rows``: the terms of each row, which the first pass leaves to the report's."""
    rows = Workspace((t.x.shape[0], len(layer.reports)))
    return {"rows": rows} if direction == "forward" and layer.phase != "predict" else {}


KERNELS = (report_cpu,)
