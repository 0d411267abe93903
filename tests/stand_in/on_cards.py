"""Networks on cards that are not there: test_stand_in.py runs this in a process of its own that finds the stand-in."""

from __future__ import annotations

import numpy as np
import pytest
from nets import ONE_DEVICE, RATES, TWO_TOWERS, batch, network, same_bits, shortened, train
from training_runs import SPEC, final, told
from training_runs import train as trained

from netspec.device.cuda.device import CudaDevice
from netspec.errors import NetspecError
from netspec.events import Note
from netspec.registry import layer_types, load_plugin
from netspec.runners.execution.session import Session
from stand_in.cards import ILLEGAL_ADDRESS, cards
from stand_in.queues import LAUNCH_FAILED

NOT_SUPPORTED = 801
TOWERS = shortened(TWO_TOWERS)
ASTRAY = """
from netspec.plugin import Layer, Tensor, backward, cuda, forward, register


@register("astray")
class Astray(Layer):
    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y.flat[i + (1 << 36)] = x.flat[i]
"""


@pytest.fixture(autouse=True)
def mended():
    """No test leaves the cards in ruins for the next."""
    yield
    cards.sticky, cards.refused, cards.are_peers = 0, {}, True
    cards.peers.clear()


def _trained(devices, iterations=3, **options):
    with Session(network(TOWERS), [devices], phases=("train",), **options) as session:
        train(session, iterations)
        return session.store.tensors(), session.captured(), session.news()


@pytest.fixture(scope="module")
def expected():
    return _trained("cuda:0,cuda:0", runner="serial")[0]


def test_two_cards_in_one_graph(expected):
    tensors, captured, news = _trained("cuda:0,cuda:1")
    assert captured and not news
    same_bits(tensors, expected)


def test_images_that_stay_on_cards_give_the_bits_of_those_that_come_up(tmp_path):
    """A run as a user starts it: gathered inside the graph, from one array a card, in training and evaluation."""
    (tmp_path / "tiny.yaml").write_text(SPEC.replace("batch: 8", "batch: 16"))
    found, lines = [], []
    for resident in ("auto", "false"):
        sets = ["data.resize=10", f"data.resident={resident}", "train.epochs=2", "data.augment={colour: on}"]
        run, events = trained(tmp_path / "tiny.yaml", devices="cuda:0,cuda:1", overrides=sets, out=tmp_path / resident)
        found.append(final(run))
        lines.append("\n".join(event.text for event in told(events, Note)))
    same_bits(*found)
    assert "57 images" in lines[0] and "stay on cuda:0, cuda:1" in lines[0] and "stay on" not in lines[1]


def _replicas(devices, runner="local", seen=lambda session: None):
    """Tensors after two iterations of four replicas, with the products that take the emulator the least time."""
    changed = {"train: {batch: 6": "replicas: 4\ntrain: {cuda: {precision: float32}, batch: 8"}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("conv", "dense"):
            patch.setattr(layer_types()[name], "supports", lambda self, t, variant: variant == "plain")
        with Session(network(TOWERS, **changed), devices, phases=("train",), runner=runner) as session:
            for number in range(2):
                session.train(batch(number, count=8), number, 8, RATES)
            seen(session)
            return session.store.tensors()


@pytest.fixture(scope="module")
def replicas():
    """What four replicas learn, by one card and by CPUs."""
    return _replicas(["cuda:0,cuda:0"], "serial"), _replicas(["cpu:0,cpu:1"])


@pytest.mark.parametrize("capturing", [True, False])
def test_replicas_on_two_cards(replicas, capturing):
    """A graph for each replica, of which two take each set of input buffers in turn; images come up meanwhile."""
    cards.refused, captured = {} if capturing else {"cuStreamBeginCapture": NOT_SUPPORTED}, []
    found = _replicas(["cuda:0,cuda:1"], seen=lambda session: captured.append(session.captured()))
    assert captured == [capturing]
    same_bits(found, replicas[0])
    for name, wanted in replicas[1].items():
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=2e-5 * np.abs(wanted).max(), err_msg=name)


def test_two_cards_that_store_bfloat16():
    """Activations cross as they are stored; shadows are made before the graph, and anew when others are loaded."""
    cards.are_peers = False
    spec, found = network(TOWERS, **{"train: {": "train: {precision: bf16, "}), []
    for runner, devices in (("serial", ["cuda:0,cuda:0"]), ("local", ["cuda:0,cuda:1"])):
        with Session(spec, devices, phases=("train",), runner=runner) as session:
            assert session.storage == "bfloat16"
            first = session.store.tensors()
            train(session, 2)
            found.append(session.store.tensors())
            session.store.load(first)
            train(session, 2)
            found.append(session.store.tensors())
            assert session.captured() == (runner == "local") and not session.news()
    for other in found[1:]:
        same_bits(other, found[0])


def test_two_cards_that_do_not_reach_each_other(expected):
    """Shards go through pinned memory of the host, in the graph too."""
    cards.are_peers = False
    tensors, captured, news = _trained("cuda:0,cuda:1")
    assert captured and not news
    same_bits(tensors, expected)


def test_an_evaluation_hands_over_the_probabilities_of_its_batch_while_the_next_comes_up():
    batches = [batch(number) for number in range(4)]
    with Session(network(TOWERS), ["cuda:0,cuda:1"], phases=("eval", "predict")) as session:
        expected = [session.predict({"image": one["image"]}, 6) for one in batches]
        session.stage(batches[0], "eval")
        for number, (one, probs) in enumerate(zip(batches, expected, strict=True)):
            session.start(0, 6, phase="eval")
            if number + 1 < len(batches):
                session.stage(batches[number + 1], "eval")
            outcome = session.finish("eval")
            np.testing.assert_allclose(session.answer("eval", 6), probs, rtol=1e-6)
            losses = -np.log(probs[np.arange(6), one["label"][:6]])
            assert outcome.reports["loss"]["loss"] == pytest.approx(losses.sum(), rel=1e-5)
        assert session.captured("eval")


def test_a_driver_that_captures_nothing(expected):
    cards.refused = {"cuStreamBeginCapture": NOT_SUPPORTED}
    tensors, captured, news = _trained("cuda:0,cuda:0")
    assert not captured and "cannot be captured" in news[0]
    same_bits(tensors, expected)


def test_a_wait_that_is_missing_shows(expected, monkeypatch):
    """What the others rest on: the stand-in finds an order that the events do not secure."""
    real = CudaDevice.wait
    monkeypatch.setattr(CudaDevice, "wait", lambda self, event, lane: lane == "copy" or real(self, event, lane))
    monkeypatch.setattr(CudaDevice, "capture", _refuse)
    try:
        tensors, _, _ = _trained("cuda:0,cuda:1")
    except NetspecError as error:
        assert "ILLEGAL_ADDRESS" in str(error)  # it read what nobody had written yet
    else:
        assert any(not np.array_equal(tensors[name], expected[name]) for name in expected)


def _refuse(self, call):
    raise NetspecError("not today")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # numba-cuda frees what is lost
def test_a_card_that_is_lost_is_one_message():
    with Session(network(TOWERS), ["cuda:0,cuda:1"], phases=("train",)) as session:
        train(session, 2)
        cards.sticky = LAUNCH_FAILED
        with pytest.raises(NetspecError, match=r"cuda:0.*CUDA_ERROR_LAUNCH_FAILED"):
            session.stage(batch(2))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_kernel_that_goes_astray_is_one_message(tmp_path):
    file = tmp_path / "astray.py"
    file.write_text(ASTRAY)
    load_plugin(file)
    spec = network(ONE_DEVICE, **{"{name: relu4, type: relu}": "{name: relu4, type: astray}"})
    with Session(spec, ["cuda:0"], phases=("predict",)) as session:
        with pytest.raises(NetspecError, match=r"cuda:0.*CUDA_ERROR_ILLEGAL_ADDRESS"):
            session.predict({"image": batch()["image"]}, 6)
    assert cards.sticky == ILLEGAL_ADDRESS
