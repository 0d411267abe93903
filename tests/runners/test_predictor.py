"""A trained network that is asked again and again."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_info
from training_runs import SPEC

import netspec
from netspec.errors import NetspecError
from netspec.events import TaskProgress
from netspec.rundir.metrics import read_metrics
from netspec.runners import inference
from netspec.runners.training import checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(SPEC)
    return netspec.run(folder / "tiny.yaml", out=folder / "runs", devices="cpu:0,cpu:1", epochs=4)


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8)


def test_arrays_and_pictures_get_the_answers_of_predict(run, batch, tmp_path):
    """Of images of the network's own size: there is nothing to resize and to crop."""
    Image.fromarray(batch[0]).save(tmp_path / "a.png")
    found = run.model(batch)
    assert (found.shape, found.dtype) == ((11, 3), np.float32)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    predicted = netspec.predict(run, list(batch), top=1)
    assert [one.top[0] for one in predicted] == [
        (run.model.classes[best], float(row[best])) for best, row in zip(found.argmax(1), found, strict=True)
    ]
    mixed = run.model([tmp_path / "a.png", batch[1], Image.fromarray(batch[2])])
    np.testing.assert_allclose(mixed, found[:3], rtol=1e-5)  # sums of another batch may be rounded otherwise
    assert run.model.predict(tmp_path / "a.png", top=1)[0].top[0][0] == predicted[0].top[0][0]
    assert run.model is run.model and run.model.shape == (8, 8, 3)


def sizes(model):
    """Of the batches that a predictor has sessions for."""
    return {size for _, size in model._sessions}


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 4}, {"runner": "serial"}, {"devices": ["cpu:0", "cpu:0"]}])
def test_a_predictor_of_any_batch_and_binding_agrees(run, batch, options):
    with netspec.predictor(run, **options) as model:
        np.testing.assert_allclose(model(batch), run.model(batch), rtol=1e-5)
        assert sizes(model) == {options.get("batch", 11)}


def test_calls_of_like_sizes_share_memory_and_smaller_ones_do_not_pay_for_it(run, batch):
    with netspec.predictor(run.checkpoint) as model:
        for count in (8, 5, 4, 1, 1, 8):
            model.predict(list(batch[:count]))
            assert model(batch[:count]).shape == (count, 3)
        assert sizes(model) == {8, 4, 1}
        assert model(np.concatenate([batch] * 4)).shape == (44, 3)
        assert sizes(model) == {8, 4, 1, inference.PREDICTED_AT_ONCE}


def test_activations_by_name_are_what_the_next_layer_reads(run, batch):
    hidden = run.activations(batch, "drop1")
    assert (hidden.shape, hidden.dtype) == ((11, 4, 4, 8), np.float32)
    tensors = checkpoint.read(run.checkpoint).tensors
    scores = np.tensordot(hidden, tensors["fc.weight"], 3) + tensors["fc.bias"]
    np.testing.assert_allclose(run.activations(list(batch), "fc"), scores, rtol=1e-4, atol=1e-6)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(run.model(batch), powers / powers.sum(axis=1, keepdims=True), rtol=1e-4)
    with netspec.predictor(run, batch=4) as model:
        np.testing.assert_allclose(model.activations(batch, "drop1"), hidden, rtol=1e-5)
        assert model.activations(batch[:0], "drop1").shape == (0, 4, 4, 8)
        assert set(model._sessions) == {("drop1", 4)}
        with pytest.raises(NetspecError, match=r"has no layer 'drop2' \(did you mean 'drop1'\?\)"):
            model.activations(batch, "drop2")


def test_no_images_have_no_answers(run, batch):
    assert run.model(batch[:0]).shape == (0, 3)
    assert run.model([]).shape == (0, 3)
    assert run.model.predict([]) == []


def test_what_is_no_batch_and_no_picture_is_told(run, batch, tmp_path):
    with pytest.raises(NetspecError, match=r"a batch of uint8 \(N, 8, 8, 3\), resized and cropped, got float64"):
        run.model(batch / 255)
    with pytest.raises(NetspecError, match="batch must be 1 or more, got 0"):
        netspec.predictor(run, batch=0)
    with pytest.raises(NetspecError, match=r"got uint8 \(8, 8, 3\); a list may hold images of any size"):
        run.model(batch[0])
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(NetspecError, match=r"text.jpg: not an image in a known format"):
        run.model([batch[0], tmp_path / "text.jpg"])
    assert run.model.predict([tmp_path / "text.jpg"])[0].error == "not an image in a known format"


def test_an_answer_that_is_not_finite_is_an_error(run, batch, tmp_path):
    found = checkpoint.read(run.checkpoint)
    weights = {**found.tensors, "fc.weight": np.full_like(found.tensors["fc.weight"], 3e38)}
    checkpoint.write(tmp_path / "odd.safetensors", replace(found, tensors=weights))
    with netspec.predictor(tmp_path / "odd.safetensors") as model, pytest.raises(NetspecError, match="not finite"):
        model(batch)


def test_after_its_end_a_predictor_is_of_no_use_and_blas_has_its_threads_again(run, batch):
    def threads():
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    run.model.close()
    before = threads()
    one, other = netspec.predictor(run), netspec.predictor(run)
    one(batch), other(batch)
    assert set(threads()) <= {1}
    one.close()
    assert set(threads()) <= {1}
    with pytest.raises(NetspecError, match="this predictor is closed"):
        one(batch)
    del other
    assert threads() == before
    del run.__dict__["model"]


def test_threads_take_turns(run, batch):
    found: dict[int, np.ndarray] = {}
    with netspec.predictor(run) as model:
        asked = [threading.Thread(target=lambda n=n: found.update({n: model(batch[: n + 1])})) for n in range(8)]
        for one in asked:
            one.start()
        for one in asked:
            one.join()
        for n in range(8):
            np.testing.assert_allclose(found[n], model(batch)[: n + 1], rtol=1e-5)


def test_a_listener_hears_of_long_work(run, batch):
    heard: list = []
    with netspec.predictor(run, listener=heard.append) as model:
        model(np.concatenate([batch] * 4))
    assert any(isinstance(one, TaskProgress) and one.what == "predicting images" for one in heard)


def test_a_run_stands_for_its_path(run, tmp_path):
    again = netspec.open_run(run.folder.parent)
    assert (again.folder, again.status, again.iteration, again.epoch) == (run.folder, "finished", 20, 4)
    assert (again.checkpoint, again.errors) == (run.checkpoint, run.errors)
    assert again.history.validation["top1"].tolist() == [
        line["errors"]["top1"] for line in read_metrics(run.folder).evaluations
    ]
    assert netspec.evaluate(run).errors == netspec.evaluate([run.folder]).errors
    assert len(netspec.features(run).values) == 13
    tuned = netspec.run(run.folder.parents[2] / "tiny.yaml", out=tmp_path, init_from=run, iterations=1)
    assert netspec.run(None, resume=tuned, epochs=1).iteration >= 1
    with pytest.raises(NetspecError, match="no such run"):
        netspec.open_run(tmp_path / "absent")
