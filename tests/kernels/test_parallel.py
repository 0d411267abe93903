"""Kernels compiled by several processes are those of one; first values do not depend on who drew them."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections import deque
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numba
import numpy as np
import pytest
from cards_apart import environment, needs_stand_in
from numba import typeof
from places import TESTS

from netspec.errors import NetspecError
from netspec.init import initial, pieces
from netspec.kernels import parallel
from netspec.kernels.cpu import _ContentCache, compile_cpu, is_stored
from netspec.kernels.lookup import find_kernel
from netspec.machine.tasks import hearing
from netspec.registry import load_plugin, plugin_files
from netspec.runners.execution.session import Rates, Session
from netspec.spec import loads

PLUGIN = """
from netspec.plugin import Elementwise, register


@register("doubling_here")
class Doubling(Elementwise):
    'Twice x.'

    def forward(x):
        return x + x

    def backward(dy):
        return dy + dy
"""
ON_CARDS = """
from netspec.kernels import parallel
from netspec.runners.execution import session
from netspec.spec import loads

session.cores = lambda: 3
shared, share = [], parallel.share

def spy(missing, processes):
    shared.append(len(missing))
    share(missing, processes)
    shared.append(sum(work.is_missing() for work in missing))
    shared.append(sum(sum(work.dispatcher._cache_misses.values()) for work in missing))

parallel.share = spy

for _ in range(2):
    session.Session(loads(NET), ["cuda:0"], batch=2, phases=("train",)).close()
print(*shared)
"""
NET = """
netspec: 1
name: small
devices: [a]
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: fc1, type: dense, inputs: image, units: 16}
  - {name: relu1, type: relu}
  - {name: fc2, type: dense, units: 4}
  - {name: loss, type: softmax_loss, inputs: [fc2, label]}
"""
"""Kernels that are quick to compile for CPUs."""
SUMS = """
netspec: 1
name: sums
devices: [a]
inputs:
  image: {shape: [4]}
  target: {shape: [4]}
layers:
  - {name: scale1, type: scale, inputs: image}
  - {name: loss, type: mse, inputs: [scale1, target]}
"""
"""Kernels that are quick to compile for cards."""


@pytest.fixture(autouse=True)
def processes(monkeypatch) -> None:
    """As many as outside of the tests, which otherwise start none beside others of their own (tests/conftest.py)."""
    monkeypatch.setattr(parallel, "_MOST", 12)


def outcome() -> dict[str, float]:
    arrays = {"image": np.full((2, 8, 8, 3), 7, np.uint8), "label": np.zeros(2, np.int32)}
    with Session(loads(NET), ["cpu:0"], batch=2, phases=("train",)) as session:
        return dict(session.train(arrays, 0, 2, Rates(0.1, (0.9, 0.0))).reports["loss"])


@pytest.mark.parametrize("cores", [1, 3])
def test_processes_fill_the_cache(monkeypatch, tmp_path, cores: int) -> None:
    """And how far they are is told: all of the kernels that were missing in the end."""
    expected = outcome()
    heard: list[Any] = []
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("netspec.kernels.cpu._compiled", {})
    for cached in ("compile_cpu", "compile_host"):
        getattr(__import__("netspec.kernels.cpu", fromlist=[cached]), cached).cache_clear()
    shared = []
    monkeypatch.setattr("netspec.runners.execution.session.cores", lambda: cores)
    monkeypatch.setattr(parallel, "share", lambda *what, old=parallel.share: (shared.append(what), old(*what)))
    with hearing(heard.append):
        assert outcome() == expected
    (missing, processes) = shared[0]
    told = [event for event in heard if event.what == "compiling kernels"]
    assert {(event.total, event.note) for event in told} == {(len(missing), f"once: kept in {tmp_path}")}
    assert (told[0].done, told[-1].done, told[-1].over) == (0, len(missing), True)
    assert [event.done for event in told] == sorted(event.done for event in told)
    assert processes == cores
    assert all(is_stored(work.dispatcher, work.signature) for work in missing)


class Broken:
    """A dispatcher that cannot compile."""

    _cache, overloads = None, {}

    def compile(self, signature: tuple) -> None:
        from numba.core.errors import TypingError

        raise TypingError("no such thing")


def test_a_kernel_that_does_not_compile_is_told_at_the_end() -> None:
    with pytest.raises(NetspecError, match="own:kernel cannot be compiled for CPUs: no such thing"):
        with parallel.compiled_together(1):
            parallel.compile_ahead(parallel.Work("own:kernel", "float32", Broken(), ()))


def test_what_the_linker_refuses_for_a_card_is_told_too(monkeypatch) -> None:
    numba_cuda = pytest.importorskip("netspec.kernels.numba_cuda")
    linker = pytest.importorskip("cuda.bindings.nvjitlink")

    class Refused(Broken):
        def compile(self, signature: tuple) -> None:
            raise linker.nvJitLinkError(4)

    monkeypatch.setattr(numba_cuda, "cuda", SimpleNamespace(gpus=[nullcontext()]))
    with pytest.raises(NetspecError, match="own:kernel cannot be compiled for GPUs: ERROR_PTX_COMPILE"):
        parallel.Work("own:kernel", "float32", Refused(), (), 0).compile()


def test_a_helper_that_dies_leaves_its_work_to_this_process(monkeypatch) -> None:
    done = []

    class Counted:
        overloads: ClassVar = {}

        def compile(self, signature: tuple) -> None:
            done.append(signature)

        def py_func(self) -> None:
            """Weighed."""

    monkeypatch.setattr(parallel, "_START", "raise SystemExit(1)")
    parallel.share([parallel.Work("x:y", "float32", Counted(), (i,)) for i in range(4)], 2)
    assert len(done) == 4


def test_large_tensors_are_drawn_in_pieces_in_any_order(monkeypatch) -> None:
    monkeypatch.setattr("netspec.init._PIECE", 1000)
    arguments = ({"type": "gaussian", "std": 1.0}, (7, 500), 0, 0, (1, "fc.weight"))
    whole = initial(*arguments)
    draws = pieces(*arguments)
    assert len(draws) == 4
    for draw in reversed(draws):
        rows, values = draw()
        np.testing.assert_array_equal(values, whole[rows])
    assert len(np.unique(whole)) > 3400  # no piece repeats another's stream


def test_parts_hold_what_is_drawn(monkeypatch) -> None:
    monkeypatch.setattr("netspec.init._PIECE", 64)
    text = NET.replace("devices: [a]", "devices: [a, b]").replace("inputs: image,", "device: [a, b], inputs: image,")
    text = text.replace("name: fc2,", "name: fc2, device: a, inputs: {from: relu1, connect: all},")
    with Session(loads(text), ["cpu:0", "cpu:1"], batch=2, phases=("train",), seed=3) as session:
        store = session.store
        initials = {str(key): init for key, init in store.initials.items()}
        for name, shape in store.shapes().items():
            init = dict(initials[name])
            expected = initial(init, shape, init.pop("fan_in", 0), init.pop("fan_out", 0), (3, name))
            np.testing.assert_array_equal(store.tensor(name), expected)


@pytest.mark.parametrize("error", [OSError("no room"), RuntimeError("can't start new thread")])
def test_without_a_process_to_spare_this_one_compiles_all(monkeypatch, error: Exception) -> None:
    done = []

    class Counted:
        overloads: ClassVar = {}

        def compile(self, signature: tuple) -> None:
            done.append(signature)

        def py_func(self) -> None:
            """Weighed."""

    def refuse(left: object) -> None:
        raise error

    monkeypatch.setattr(parallel, "_Helper", refuse)
    parallel.share([parallel.Work("x:y", "float32", Counted(), (i,)) for i in range(3)], 2)
    assert len(done) == 3


def test_two_processes_that_compile_for_two_signatures_never_write_one_file(tmp_path: Path, monkeypatch) -> None:
    one, other = (_ContentCache(outcome, tmp_path)._cache_file for _ in range(2))
    monkeypatch.setattr(one, "_load_index", dict)  # neither sees the other's entry
    monkeypatch.setattr(other, "_load_index", dict)
    one.save(("float32",), "code for float32")
    other.save(("float64",), "code for float64")
    fresh = _ContentCache(outcome, tmp_path)._cache_file
    assert (fresh.load(("float32",)), fresh.load(("float64",))) == (None, "code for float64")
    fresh.save(("float32",), "code for float32")
    assert (fresh.load(("float32",)), fresh.load(("float64",))) == ("code for float32", "code for float64")


@pytest.mark.parametrize("torn", ["nbi", "nbc"])
@pytest.mark.parametrize("length", [0, 30])
def test_a_torn_file_of_the_cache_is_as_good_as_none(tmp_path: Path, torn: str, length: int) -> None:
    files = _ContentCache(outcome, tmp_path)._cache_file
    files.save(("float32",), "code" * 50)
    (path,) = tmp_path.glob(f"*.{torn}")
    path.write_bytes(path.read_bytes()[:length])
    assert files.load(("float32",)) is None
    files.save(("float32",), "code again")
    assert files.load(("float32",)) == "code again"


@pytest.mark.parametrize("gone", ["netspec.kernels.no_such_module\nname", "netspec.kernels.cache\nno_such_class"])
def test_code_of_what_netspec_has_no_more_is_as_good_as_none(tmp_path: Path, gone: str) -> None:
    files = _ContentCache(outcome, tmp_path)._cache_file
    files.save(("float32",), "code")
    (data,), (index,) = tmp_path.glob("*.nbc"), tmp_path.glob("*.nbi")
    data.write_bytes(f"c{gone}\n.".encode())
    assert files.load(("float32",)) is None
    foreign = f"(V{tmp_path.name}\nc{gone}\nt."  # an index with a type of arrays that there is no more
    index.write_bytes(pickle.dumps(numba.__version__) + foreign.encode())
    assert files.load(("float32",)) is None
    files.save(("float32",), "code again")
    assert files.load(("float32",)) == "code again"


def test_a_full_disk_costs_the_cache_only(tmp_path: Path, monkeypatch) -> None:
    def full(*what: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("netspec.kernels.cpu._compiled", {})
    monkeypatch.setattr("netspec.kernels.cpu._Files._save_data", full)
    kernel = find_kernel("relu:forward_cpu").function
    compiled = compile_cpu.__wrapped__(kernel, "float32")
    x, y = np.float32([-1, 2]), np.zeros(2, np.float32)
    compiled(0, 2, x, y)
    assert y.tolist() == [0, 2]


def test_what_this_process_holds_is_not_looked_up(monkeypatch) -> None:
    """Neither are kernels that many layers share looked up more than once."""
    outcome()
    monkeypatch.setattr(_ContentCache, "holds", lambda *_: pytest.fail("it is looked up"))
    outcome()
    asked = []
    monkeypatch.setattr(parallel.Work, "is_missing", lambda work: bool(asked.append((work.dispatcher, work.signature))))
    outcome()
    assert asked and len(asked) == len(set(asked))


def test_a_helper_knows_the_plugins_that_were_loaded(monkeypatch, tmp_path) -> None:
    plugin = tmp_path / "doubling.py"
    plugin.write_text(PLUGIN)
    load_plugin(plugin)
    assert str(plugin) in plugin_files()
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("netspec.kernels.cpu._compiled", {})
    dispatcher = compile_cpu.__wrapped__(find_kernel("doubling_here:forward_cpu").function, "float32")
    signature = tuple(map(typeof, (0, 2, np.zeros(2, np.float32), np.zeros(2, np.float32))))
    work = parallel.Work("doubling_here:forward_cpu", "float32", dispatcher, signature)
    left = deque([work])
    helper = parallel._Helper(left)
    helper.thread.join(240)
    helper.close()
    assert not left and is_stored(dispatcher, signature)


def test_what_is_not_begun_in_time_and_what_fails_is_left_out() -> None:
    done = []

    class Slow:
        overloads: ClassVar = {}

        def compile(self, signature: tuple) -> None:
            from numba.core.errors import TypingError

            done.append(signature)
            time.sleep(0.15)
            raise TypingError("never")

        def py_func(self) -> None:
            """Weighed."""

    parallel.share([parallel.Work("x:y", "float32", Slow(), (i,)) for i in range(6)], 1, 0.2)
    assert 1 < len(done) < 6


def test_a_helper_that_hangs_is_not_waited_for_long(monkeypatch) -> None:
    done = []

    class Counted:
        overloads: ClassVar = {}

        def compile(self, signature: tuple) -> None:
            done.append(signature)
            time.sleep(0.2)

        def py_func(self) -> None:
            """Weighed."""

    hangs = "import os, time; os.write(1, b'.'); time.sleep(600)"
    monkeypatch.setattr(parallel, "_START", hangs)
    monkeypatch.setattr(parallel, "_PATIENCE_S", 0.5)
    began = time.monotonic()
    parallel.share([parallel.Work("x:y", "float32", Counted(), (i,)) for i in range(6)], 2)
    assert len(done) == 5 and time.monotonic() - began < 20  # the sixth is compiled with all others, at the end


@needs_stand_in[0]
@needs_stand_in[1]
def test_kernels_for_cards_are_compiled_by_several_processes(tmp_path) -> None:
    """On the stand-in for CUDA's driver; a second session finds them all, and none is compiled twice."""
    variables = {**environment(1, TESTS, TESTS / "support"), "NETSPEC_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", f"NET = {SUMS!r}\n{ON_CARDS}"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    shared, missing, by_itself = map(int, done.stdout.split())
    assert shared > 6 and missing == 0 and by_itself < shared


def test_what_holds_has_read_is_not_read_again_but_where_it_lacked_the_key(tmp_path: Path, monkeypatch) -> None:
    one, other = (_ContentCache(outcome, tmp_path)._cache_file for _ in range(2))
    assert not one.holds(("float32",))
    other.save(("float32",), "code for float32")
    assert one.load(("float32",)) == "code for float32"
    assert one.holds(("float32",))
    monkeypatch.setattr(one, "_load_index", lambda: pytest.fail("the index is read once more"))
    assert one.load(("float32",)) == "code for float32"
    for path in tmp_path.glob("*.nbc"):
        path.unlink()
    assert one.load(("float32",)) is None
