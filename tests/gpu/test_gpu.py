"""What only a GPU can show: kernels' numbers, streams, graphs, copies between cards.

``pytest -m gpu``; ``-k "not contract"`` leaves out what compiles every layer's kernels.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from nets import BATCH, RATES, TWO_TOWERS, batch, network, same_bits, train

from netspec.check.subject import Subject
from netspec.check.suite import CHECKS, outcome
from netspec.device.gpus import gpus, obstacle
from netspec.errors import NetspecError
from netspec.registry import layer_types
from netspec.runners.execution.session import Session
from netspec.runners.execution.trace import Trace
from netspec.spec import loads

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU is found"),
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
]
WITH_KERNELS = sorted(
    name for name, cls in layer_types().items() if any("cuda" in kernel.backends for kernel in cls.kernels)
)


@pytest.fixture(scope="module")
def card():
    from netspec.device.cuda.device import CudaDevice

    return CudaDevice(0)


def _put(card, values):
    array = card.empty(values.shape, str(values.dtype))
    card.upload(array, values)
    return array


def _trained(devices, iterations=3, **options):
    with Session(network(TWO_TOWERS), [devices], phases=("train",), **options) as session:
        outcomes = train(session, iterations)
        return session.store.tensors(), [outcome.reports["loss"]["loss"] for outcome in outcomes]


@pytest.mark.parametrize("runner", ["local", "serial"])
def test_an_iteration_on_a_gpu_is_an_iteration_on_cpus(runner):
    expected, _ = _trained("cpu:0,cpu:1", 1)
    got, _ = _trained("cuda:0,cuda:0", 1, runner=runner)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()), err_msg=name)


def test_a_gpu_learns_as_cpus_do():
    _, on_cpus = _trained("cpu:0,cpu:1", 20)
    _, on_gpu = _trained("cuda:0,cuda:0", 20)
    np.testing.assert_allclose(on_gpu, on_cpus, rtol=2e-2)


def test_streams_and_graphs_give_the_bits_of_the_serial_runner():
    """The first iteration is enqueued step by step, the others are replayed; with a trace none is."""
    serial, _ = _trained("cuda:0,cuda:0", 5, runner="serial")
    for _ in range(3):
        same_bits(_trained("cuda:0,cuda:0", 5, runner="local")[0], serial)
    same_bits(_trained("cuda:0,cuda:0", 5, trace=Trace())[0], serial)


@pytest.mark.parametrize("devices", ["cuda:0,cuda:0", "cuda:0,cuda:1"])
def test_iterations_are_captured_and_batches_come_up_beside_them(devices):
    if devices.endswith("1") and len(gpus()) < 2:
        pytest.skip("one GPU only")
    serial, _ = _trained(devices, 5, runner="serial")
    with Session(network(TWO_TOWERS), [devices], phases=("train",)) as session:
        session.stage(batch(0))
        for iteration in range(5):
            session.start(iteration, BATCH, RATES)
            following = batch(iteration + 1)
            session.stage(following)
            for array in following.values():
                array[:] = 0
            outcome = session.finish()
            assert outcome.finite and outcome.seconds > 0
        assert session.captured() and not session.news()
        same_bits(session.store.tensors(), serial)


def test_colours_are_altered_in_captured_iterations():
    found = []
    for devices in ("cpu:0,cpu:1", "cuda:0,cuda:0"):
        spec = network(TWO_TOWERS, **{"scale: 0.01": "scale: 0.01, augment: {colour: on}"})
        with Session(spec, [devices], phases=("train",)) as session:
            session.store.load({"image.components": np.eye(3, dtype=np.float32) * 40}, strict=False)
            for i in range(3):
                tint = np.random.default_rng(i).normal(0, 0.3, (BATCH, 4)).astype(np.float32)
                loss = session.train({**batch(i), "image.tint": tint}, i, BATCH, RATES).reports["loss"]["loss"]
            found.append(loss)
            assert session.captured() == devices.startswith("cuda")
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_evaluation_and_prediction_are_captured_too():
    with Session(network(TWO_TOWERS), ["cuda:0,cuda:0"], phases=("train", "eval", "predict")) as session:
        train(session, 1)
        images = {"image": batch(1)["image"]}
        first = session.evaluate(batch(1), BATCH).reports, session.predict(images, BATCH)
        for _ in range(3):
            assert session.evaluate(batch(1), BATCH).reports == first[0]
            np.testing.assert_array_equal(session.predict(images, BATCH), first[1])
        assert session.captured("eval") and session.captured("predict")


def test_what_cannot_be_captured_is_refused_and_can_still_be_run(card):
    with pytest.raises(NetspecError):
        card.capture(lambda: card.synchronise())
    array = _put(card, np.full(8, 2, np.float32))
    assert (card.download(array) == 2).all()


@pytest.mark.skipif(len(gpus()) < 2, reason="one GPU only")
def test_two_cards_give_the_bits_of_one():
    same_bits(_trained("cuda:0,cuda:1")[0], _trained("cuda:0,cuda:0")[0])


def test_weights_move_between_kinds_of_device():
    with Session(network(TWO_TOWERS), ["cuda:0,cuda:0"], phases=("train", "predict")) as session:
        train(session, 1)
        tensors = session.store.tensors()
        expected = session.predict({"image": batch()["image"]}, BATCH)
    with Session(network(TWO_TOWERS), ["cpu:0,cpu:1"], phases=("train", "predict")) as session:
        session.store.load(tensors)
        np.testing.assert_allclose(session.predict({"image": batch()["image"]}, BATCH), expected, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize("queue", ["compute", "copy"])
def test_copies_of_slices(card, axis, queue):
    values = np.random.default_rng(axis).normal(size=(6, 7, 8, 12)).astype(np.float32)
    cut = (slice(None),) * axis + (slice(2, 5),)
    target = _put(card, np.zeros_like(values))
    card.copier(card.slice(target, axis, 2, 5), card.slice(_put(card, values), axis, 2, 5), card, queue)()
    card.synchronise()
    expected = np.zeros_like(values)
    expected[cut] = values[cut]
    np.testing.assert_array_equal(card.download(target), expected)
    np.testing.assert_array_equal(card.download(card.slice(target, axis, 2, 5)), values[cut])


def test_copies_from_and_to_staging(card):
    values = np.random.default_rng(0).normal(size=(5, 6, 8)).astype(np.float32)
    staging, back = card.staging(values.shape, "float32"), card.staging((5, 6, 4), "float32")
    staging[:] = values
    target = card.empty(values.shape, "float32")
    card.copier(target, staging, None, "copy")()
    event = card.event()
    card.record(event, "copy")
    card.wait(event, "compute")
    card.copier(back, card.slice(target, 2, 4, 8), card, "compute")()
    card.synchronise()
    np.testing.assert_array_equal(back, values[:, :, 4:])


def test_slices_and_staging_of_bfloat16(card):
    values = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
    array, other = card.empty(values.shape, "bfloat16"), card.empty((4, 6, 4), "bfloat16")
    card.upload(array, values)
    staging, into = card.staging((4, 6, 4), "bfloat16"), np.zeros((4, 6, 4), np.float32)
    card.copier(other, card.slice(array, 2, 4, 8), card, "copy")()
    card.synchronise()
    card.copier(staging, other, card, "copy")()
    card.synchronise()
    rounded = values.astype(staging.dtype).astype(np.float32)
    np.testing.assert_array_equal(card.download(array), rounded)
    np.testing.assert_array_equal(card.download(other, into), rounded[:, :, 4:])
    np.testing.assert_array_equal(staging.astype(np.float32), rounded[:, :, 4:])


def test_primitives_of_bfloat16_slices(card):
    """Kernels are launched on such arrays: gemm computes in float32 and rounds what it writes."""
    random = np.random.default_rng(1)
    a, b = random.integers(-4, 5, (5, 7)).astype(np.float32), random.integers(-4, 5, (7, 6)).astype(np.float32)
    out, sums = card.empty((5, 6), "bfloat16"), card.empty((6,), "float32")
    left, right = card.empty((5, 7), "bfloat16"), card.empty((7, 6), "bfloat16")
    card.upload(left, a)
    card.upload(right, b)
    from netspec.device.cuda.ops import CudaOps

    with card._card:
        ops = CudaOps(card.index, card._handles["compute"])
        ops.gemm(left, right, out)
        ops.sum_rows(out, sums)
    np.testing.assert_array_equal(card.download(out), a @ b)
    np.testing.assert_array_equal(card.download(sums), (a @ b).sum(axis=0))


def test_a_captured_call_is_replayed(card):
    source, target = _put(card, np.arange(1000, dtype=np.float32)), card.empty((1000,), "float32")
    staged = card.staging((1000,), "float32")
    feed, copy = card.copier(source, staged, None, "compute"), card.copier(target, source, card, "copy")
    event, joined = card.event(), card.event()

    def call():
        feed()
        card.record(event, "compute")
        card.wait(event, "copy")
        copy()
        card.record(joined, "copy")
        card.wait(joined, "compute")

    call()
    card.synchronise()
    replay = card.capture(call)
    for value in range(3):
        staged[:] = value
        replay()
        card.synchronise()
        assert (card.download(target) == value).all()


def test_too_much_memory_is_an_error_with_figures(card):
    with pytest.raises(NetspecError, match="no room for"):
        card.arena(gpus()[0].memory * 2)
    assert (card.download(_put(card, np.ones(8, np.float32))) == 1).all()


def test_rates_reach_the_card():
    """An iteration with a rate of nought changes nothing."""
    with Session(network(TWO_TOWERS), ["cuda:0,cuda:0"], phases=("train",)) as session:
        before = session.store.tensors()
        session.train(batch(), 0, BATCH, RATES._replace(learning_rate=0.0))
        after = session.store.tensors()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_averages_and_rates_of_single_parameters():
    hand = "train.schedule={type: hand, steps: [{epoch: 0, layers: {'*.bias': 2.0}, freeze: [conv1]}]}"
    spec = loads(textwrap.dedent(TWO_TOWERS), "net.yaml", [hand, "train.ema={}"])
    rates = RATES._replace(factors=(("*.bias", 2.0), ("conv1", 0.0)), average=0.25)
    tensors = []
    for devices in ("cpu:0,cpu:1", "cuda:0,cuda:0"):
        with Session(spec, [devices], phases=("train",)) as session:
            for iteration in range(3):
                session.train(batch(iteration), iteration, BATCH, rates)
            tensors.append(session.store.tensors())
    expected, got = tensors
    assert np.array_equal(got["conv1.weight"], got["conv1.weight.average"])
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-4 * max(1, np.abs(value).max()), err_msg=name)


@pytest.mark.parametrize("name", WITH_KERNELS)
def test_contract(name):
    """The checks of CUDA kernels; the suite's others need no GPU. What compiles most comes last."""
    subject = Subject(name, ("cpu", "cuda"), ("cuda",))
    results = [outcome(check, subject) for check in CHECKS if check.__name__.startswith("check_cuda")]
    failed = [f"{result.name}: {result.message}" for result in results if result.status == "failed"]
    assert len(results) > 2 and not failed, "\n".join(failed)
