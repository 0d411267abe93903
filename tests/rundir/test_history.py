"""What a run measured as arrays."""

import json

import numpy as np
from metric_runs import write_run

import netspec
from netspec.rundir import metrics
from netspec.rundir.history import read_history_of


def test_columns_of_one_length_hold_each_iteration_and_each_evaluation(tmp_path):
    run = write_run(tmp_path / "mini" / "a", rate=0.1, speed=1)
    found = read_history_of(run)
    assert set(found.training) == {
        *("iteration", "epoch", "loss", "learning_rate", "seconds", "images_per_second", "top1", "top5"),
    }
    assert {len(column) for column in found.training.values()} == {101}
    assert found.training["iteration"].tolist() == [*range(1, 101), 100]
    assert found.training["epoch"][:25].tolist() == [n / 25 for n in range(1, 26)]
    assert np.isnan(found.training["loss"][-1]) and np.isnan(found.training["top1"][-1])
    np.testing.assert_allclose(found.training["top5"][:100] * 6, found.training["loss"][:100])
    assert found.validation["iteration"].tolist() == [25, 50, 75, 100]
    assert found.validation["epoch"].tolist() == [1, 2, 3, 4]
    assert found.validation["loss"].tolist() == found.training["loss"][24:100:25].tolist()
    assert np.isnan(found.validation["images"]).all() and not found.faults
    kinds = {column.dtype for part in (found.training, found.validation) for column in part.values()}
    assert kinds == {np.dtype(np.int64), np.dtype(np.float64)}


def test_no_iteration_of_a_long_run_is_left_out(tmp_path, monkeypatch):
    run = write_run(tmp_path / "mini" / "a", rate=0.1, speed=1, evaluations=2, per_epoch=200)
    text = (run / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in text if line.endswith("}")]
    ordered = [{"event": line.pop("event"), **line} for line in lines]  # as runs write them
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ordered))
    monkeypatch.setattr(metrics, "_READ_BYTES", 10_000)
    assert len(metrics.read_metrics(run).iterations) < 300
    assert len(read_history_of(run).training["loss"]) == 401


def test_a_run_that_measured_nothing_has_columns_of_no_length(tmp_path):
    (tmp_path / "mini" / "a").mkdir(parents=True)
    (tmp_path / "mini" / "a" / "spec.resolved.yaml").write_text("")
    run = netspec.open_run(tmp_path)
    assert (run.folder, run.status, run.iteration, dict(run.errors)) == (tmp_path / "mini" / "a", "killed", 0, {})
    assert {len(one) for part in (run.history.training, run.history.validation) for one in part.values()} == {0}
