"""``netspec layers``: the list, the pages, the contract suite, for built-in layers and for a file of one's own."""

import json

import pytest
from cli_tools import netspec, process

from netspec.device.gpus import finds_compiler, gpus

PLUGIN = '''
"""Twice the input: the smallest layer there is."""
from netspec.plugin import Elementwise, number, register

@register("{name}")
class Times(Elementwise):
    """y = factor x"""
    attrs = {{"factor": number("What the input is multiplied with.", default=2.0)}}
    def forward(x, factor): return factor * x
    def backward(dy, factor): return {backward}
'''


@pytest.fixture
def plugin(tmp_path):
    def write(name: str, backward: str = "factor * dy"):
        file = tmp_path / f"{name}.py"
        file.write_text(PLUGIN.format(name=name, backward=backward))
        return file

    return write


def test_the_list_has_every_type_with_its_backends():
    rows = json.loads(netspec("layers", "--json").out)
    types = {row["type"]: row for row in rows}
    assert {"conv", "dense", "relu", "lrn", "pool", "dropout", "softmax_loss"} <= set(types)
    assert types["relu"]["backends"] == ["cpu", "cuda"]
    text = netspec("layers").out
    assert all(f" {name} " in text and types[name]["summary"] in text for name in types)


def test_the_page_of_a_layer():
    said = netspec("layers", "show", "pool")
    assert said.code == 0
    for part in ("in a spec: - {name: pool1, type: pool, mode: ..., size: ...}", "one of max, average", "(needed)"):
        assert part in said.out
    assert "layers/pool.py" in said.out and "cpu" in said.out


def test_every_layer_has_a_page():
    types = [row["type"] for row in json.loads(netspec("layers", "--json").out)]
    for page in json.loads(netspec("layers", "show", *types, "--json").out):
        assert page["summary"] and page["text"] and page["kernels"]
        assert all(attribute["meaning"] for attribute in page["attributes"]), page["type"]


def test_an_unknown_type_is_guessed():
    said = netspec("layers", "show", "polo")
    assert said == (1, "", "error: unknown layer type 'polo' (did you mean 'pool'?)\n")


def test_a_built_in_layer_by_its_file():
    from cli_tools import ROOT

    assert netspec("layers", "show", ROOT / "layers" / "relu.py").out.startswith("relu: ")


def test_a_plugin_is_shown_and_usable(plugin, tmp_path):
    file = plugin("times_shown")
    said = netspec("layers", "show", file)
    assert said.code == 0 and "factor" in said.out and "What the input is multiplied with." in said.out
    assert "times_shown" in netspec("layers", "--plugin", file).out
    spec = tmp_path / "net.yaml"
    from cli_tools import MINI

    spec.write_text(MINI.replace("type: relu", "type: times_shown"))
    assert process("validate", spec, "--plugin", file).code == 0
    alone = process("validate", spec)
    assert alone.code == 1 and "unknown layer type 'times_shown'" in alone.err


def test_check_passes_a_good_plugin_and_fails_a_wrong_one(plugin):
    good = netspec("layers", "check", plugin("times_good"), "--backend", "cpu")
    assert good.code == 0, good
    assert "passed   gradients" in good.out and good.out.splitlines()[-1].split()[1] == "passed,"
    wrong = process("layers", "check", plugin("times_wrong", "factor * dy + 1"), "--backend", "cpu", "--json")
    failed = [result for result in json.loads(wrong.out) if result["status"] == "failed"]
    assert wrong.code == 1 and "gradients" in {result["check"] for result in failed}
    assert "Traceback" not in wrong.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "registers no layer"),
        ("import nosuchmodule\n", "cannot be imported: ModuleNotFoundError"),
        ("def (:\n", "cannot be imported: SyntaxError"),
    ],
)
def test_a_file_that_is_no_plugin_is_one_line(tmp_path, text, message):
    file = tmp_path / "odd.py"
    file.write_text(text)
    for args in (["layers", "check", file], ["layers", "show", file], ["validate", "quickstart", "--plugin", file]):
        said = netspec(*args)
        assert said.code == 1 and message in said.err and said.err.count("\n") == 1


def test_a_missing_plugin_is_one_line():
    said = netspec("info", "quickstart", "--plugin", "gone.py")
    assert said == (2, "", "error: gone.py: no such plugin file\n")


RACING = """
from netspec.plugin import Layer, Tensor, backward, cuda, forward, register
@register("{name}")
class Reversed(Layer):
    def outputs(self, x):
        return Tensor(x.shape)
    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y.flat[i] = x.flat[i // 64 * 64 + min(63, x.size - 1 - i // 64 * 64) - i % 64]
    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x.flat[i] = dy.flat[i // 64 * 64 + min(63, dy.size - 1 - i // 64 * 64) - i % 64]
    @forward("cuda", over="x", writes="y", threads=64)
    def forward_cuda(x, y):
        shared = cuda.shared.array(64, x.dtype)
        first, t = cuda.blockIdx.x * 64, cuda.threadIdx.x
        if first + t < x.size:
            shared[t] = x.flat[first + t]
        {barrier}
        if first + t < x.size:
            y.flat[first + t] = shared[min(63, x.size - 1 - first) - t]
    @backward("cuda", over="d_x", writes="d_x", threads=64)
    def backward_cuda(dy, d_x):
        first, t = cuda.blockIdx.x * 64, cuda.threadIdx.x
        if first + t < dy.size:
            d_x.flat[first + t] = dy.flat[first + min(63, dy.size - 1 - first) - t]
"""


@pytest.mark.skipif(bool(gpus()), reason="nothing is emulated where there is a GPU")
@pytest.mark.skipif(not finds_compiler(), reason="CUDA's compiler is not installed: pip install 'netspec[gates]'")
def test_cuda_kernels_are_checked_without_a_gpu(tmp_path):
    """A barrier that is missing, which most runs on a card would not show."""
    results = {}
    for name, barrier in (("kept", "cuda.syncthreads()"), ("lost", "")):
        file = tmp_path / f"{name}.py"
        file.write_text(RACING.format(name=f"reversed_{name}", barrier=barrier))
        said = netspec("layers", "check", file, "--backend", "cuda", "--json")
        results[name] = {one["check"]: one for one in json.loads(said.out)}["cuda"]
    assert results["kept"]["status"] == "passed", results["kept"]
    assert results["lost"]["status"] == "failed" and "barrier" in results["lost"]["message"], results["lost"]


def test_a_variable_that_takes_the_compiler_away_is_named():
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    said = process("layers", "check", "flatten", "--json", NUMBA_ENABLE_CUDASIM="1")
    failed = {one["check"]: one["message"] for one in json.loads(said.out) if one["status"] == "failed"}
    assert said.code == 1 and set(failed) == {"cuda"}
    assert failed["cuda"].startswith("NUMBA_ENABLE_CUDASIM is set") and "unset it" in failed["cuda"]


WORDLESS = '''
"""A layer whose class says nothing.

And more words of the author's.
"""
from netspec.plugin import Elementwise, Layer, Tensor, number, register

class Shared(Layer):
    """y = 2 x, as the author says of several."""
    def outputs(self, x):
        """As the input."""
        return Tensor(x.shape, x.dtype)

@register("wordless")
class Wordless(Elementwise):
    attrs = {"slope": number("Help of the author's.", default=2.0)}
    def forward(x): return 2.0 * x
    def backward(dy): return 2.0 * dy

@register("worded")
class Worded(Shared):
    pass
'''


def test_a_page_has_the_author_s_words_and_not_the_framework_s(tmp_path):
    file = tmp_path / "wordless.py"
    file.write_text(WORDLESS)
    wordless, worded = json.loads(netspec("layers", "show", file, "--json").out)
    assert wordless["summary"] == "A layer whose class says nothing."
    assert wordless["text"] == "And more words of the author's."
    assert [one["meaning"] for one in wordless["attributes"]] == ["Help of the author's."]
    assert worded["text"].startswith("y = 2 x, as the author says of several.")
    assert worded["facts"]["outputs"] == "As the input."
    told = netspec("layers", "show", "wordless").out
    assert "Subclass it" not in told and "scalar" not in told
    facts = json.loads(netspec("layers", "show", "layer_norm", "--json").out)[0]["facts"]
    assert "outputs" not in facts and "keeps for backward" not in facts, "Rowwise says them, not the layer"
