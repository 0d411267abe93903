"""The text of kernels for netspec.contract.channelwise; words in braces are filled in for each function.

On CPUs arrays are rows of pixels, so that the inner loop over channels is vectorised. On GPUs a thread has four
neighbouring elements; sums are taken by blocks with LANES units of channels side by side, a unit being four or one, and
as many rows at once as their threads suffice for, which meet in shared memory in the order of their rows. A thread has
loads of AT_ONCE rows of units of four on their way together.
"""

EACH_CPU = """
def {name}(start, stop, {params}, cut: Cut):
    {matrices}
    for row in range({first}.shape[0]):
        for c in range(cut.width):
            {results} = {call}
"""
EACH_CUDA = """
def {name}({params}, cut: Cut):
    i = 4 * cuda.grid(1)
    if cut.width % 4 == 0:
        if i < {first}.size:
            c = i % cut.width
            {loads}
            {calls}
            {stores}
    else:
        for i in range(i, min(i + 4, {first}.size)):
            c = i % cut.width
            {results} = {call}
"""
PARTS_CPU = """
def {name}(start, stop, {params}, cut: Cut):
    each = -(-cut.rows // cut.parts)
    for part in range(start, stop):
        {totals}
        {matrices}
        for row in range({first}.shape[0]):
            for c in range(cut.width):
                {add}
"""
TOTAL_CPU = """
def {name}(start, stop, {params}, cut: Cut):
    for c in range(start, stop):
        {clear}
        for part in range(cut.parts):
            {add}
        {end}
"""


def _indented(text: str) -> str:
    """A part of a template one level further in."""
    return "".join(f"    {line}\n" for line in text.splitlines())


_SIDE_BY_SIDE = """\
    lanes = min(cut.width - LANES * cuda.blockIdx.x, LANES)
    at_once, own = THREADS // lanes, thread // lanes
    c = LANES * cuda.blockIdx.x + thread % lanes
    {clear}
    if own < at_once:
"""
_MEET = """\
    {meet}
    if thread < lanes:
        {end}
"""
PARTS_CUDA = (
    """
def {name}({params}, cut: Cut):
    shared = cuda.shared.array(SHARED, partials.dtype, alignment=16)
    thread, part, each = cuda.threadIdx.x, cuda.blockIdx.y, -(-cut.rows // cut.parts)
    if cut.unit == 4:
        lanes = min(cut.width // 4 - LANES * cuda.blockIdx.x, LANES)
        at_once, own = quotient(THREADS, lanes), quotient(thread, lanes)
        c = 4 * (LANES * cuda.blockIdx.x + thread - own * lanes)
        {clear_four}
        {channels_four}
        row, stop = part * each + own, min((part + 1) * each, cut.rows) if own < at_once else 0
        while row + (AT_ONCE - 1) * at_once < stop:
            {loads_in_flight}
            {add_in_flight}
            row += AT_ONCE * at_once
        while row < stop:
            {loads_one}
            {add_one}
            row += at_once
        {meet_four}
        if thread < lanes:
            {end_four}
    else:
"""
    + _indented(_SIDE_BY_SIDE)
    + """\
            for row in range(part * each + own, min((part + 1) * each, cut.rows), at_once):
                i = row * cut.width + c
                {add}
"""
    + _indented(_MEET)
)
TOTAL_CUDA = (
    """
def {name}({params}, cut: Cut):
    shared = cuda.shared.array(THREADS, partials.dtype)
    thread = cuda.threadIdx.x
"""
    + _SIDE_BY_SIDE
    + """\
        for part in range(own, cut.parts, at_once):
            {add_flat}
"""
    + _MEET
)
ROWS_CPU = PARTS_CPU.replace("cut: Cut", "cut: Cut, rows: Rows").replace(
    """\
            for c in range(cut.width):
                {add}
""",
    """\
            for group in range(rows.groups):
                at, own = (part * each + row) * rows.groups + group, group * rows.depth
                {rows}
                {slices}
                for c in range(rows.depth):
                    {add_own}
""",
)
ROWS_CUDA = PARTS_CUDA.replace("cut: Cut", "cut: Cut, rows: Rows").replace(
    """\
                {add}
""",
    """\
                at = row * rows.groups + c // rows.depth
                {rows}
                {add}
""",
)
"""Those of PARTS where functions ask for numbers of rows."""
