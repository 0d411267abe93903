"""Metrics: named in specs and by --metric, shipped or a plugin's; what goes by them; and their contract suite."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_tools import netspec
from layer_files import forget
from places import ROOT
from several_processes import TINY, losses, needs_mpi
from several_processes import run as run_processes
from training_runs import SPEC, told, train

from netspec import api
from netspec.check import checked
from netspec.errors import NetspecError, SpecError
from netspec.events import CheckpointWritten, EvaluationDone, RunFinished, RunStarted
from netspec.measures import Measure, measure_of, measures_from
from netspec.metrics import Totals, declared, make_metric, metric_types, score_of, tells
from netspec.planning.trainable import check
from netspec.registry import load_plugin
from netspec.report.comparison import compare
from netspec.rundir.directory import summary
from netspec.rundir.metrics import read_metrics
from netspec.runners.training import checkpoint
from netspec.runners.training.saver import ranked
from netspec.spec import canonical, from_canonical, load, loads, resolved

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BALANCED, WITHIN = (
    re.findall(rf"```python\n(# {name}.py\n.*?)```", PAGE, re.DOTALL)[0] for name in ("balanced_error", "within")
)
NUMBERS = SPEC.replace("  label: {dtype: int32}", "  place: {shape: [2]}").replace("units: 3", "units: 2")
NUMBERS = NUMBERS.replace("softmax_loss, inputs: [fc, label]", "mse, inputs: [fc, place]").replace(
    "{type: generated, classes: 3, ", "{type: placed, "
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name, text in (("tiny.yaml", SPEC), ("numbers.yaml", NUMBERS), ("balanced_error.py", BALANCED)):
        Path(name).write_text(text)
    Path("within.py").write_text(WITHIN)
    yield
    forget()


def trained(spec: str, metrics: str, *sets: str, **options):
    return train(Path(spec).absolute(), overrides=[f"train.metrics={metrics}", *sets], **options)


def test_one_of_ones_own_is_measured_over_the_whole_set_and_decides() -> None:
    result, events = trained("tiny.yaml", "[balanced_error]", plugins=["balanced_error.py"])
    done = api.evaluate(result.folder, probabilities=True, listener=events.append)
    answers, labels = done.results.probabilities, done.results.label
    wrong = [float((answers[labels == one].argmax(axis=1) != one).mean()) for one in np.unique(labels)]
    assert len(labels) == 13  # a batch of 8, and a part of one
    assert done.errors["balanced_error"] == pytest.approx(sum(wrong) / len(wrong), rel=1e-15)
    measured = {one.iteration: one.errors["balanced_error"] for one in told(events, EvaluationDone) if one.epoch}
    assert measured[done.iteration] == done.errors["balanced_error"]
    best = ranked(result.folder / "checkpoints")[0]
    assert best.score == min(measured.values()) == measured[best.iteration]


def test_metrics_jsonl_says_what_is_measured_before_it_is() -> None:
    result, events = trained("numbers.yaml", "[{type: within, distance: 0.5}]", plugins=["within.py"])
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    start = [line["event"] for line in lines].index("start")
    assert not [line for line in lines[:start] if "errors" in line]
    assert lines[start]["metrics"] == {
        "loss": {"title": "loss", "unit": "", "better": "lower"},
        "rmse": {"title": "rmse", "unit": "", "better": "lower"},
        "mae": {"title": "mae", "unit": "", "better": "lower"},
        "within": {"title": "within", "unit": "%", "better": "higher"},
    }
    names = {name for line in lines if "errors" in line for name in line["errors"]}
    assert names <= lines[start]["metrics"].keys()
    forget()  # readers have no need of the plugin
    assert read_metrics(result.folder).measures == told(events, RunStarted)[0].metrics


def test_runs_without_validation_say_it_too() -> None:
    """And the list of runs says what decided, by name."""
    result, events = train(Path("tiny.yaml").absolute(), overrides=["data.source.val_images=0", "train.epochs=1"])
    assert told(events, RunStarted)[0].metrics.keys() == {"loss", "top1", "top5"}
    result, _ = trained("tiny.yaml", "[top5, loss]", "train.epochs=1")
    assert "metrics top5, loss" in " ".join(netspec("runs", "--out", result.folder.parent.parent).out.split())


def test_where_more_is_better_the_best_is_the_highest() -> None:
    result, events = trained("numbers.yaml", "[{type: within, distance: 0.5}]", plugins=["within.py"])
    measured = {one.iteration: one.errors["within"] for one in told(events, EvaluationDone)}
    assert len(set(measured.values())) > 1
    assert [one.score for one in ranked(result.folder / "checkpoints")] == sorted(-value for value in measured.values())
    record = checkpoint.read(result.checkpoint).record
    assert record.validation_errors == tuple(-measured[at] for at in sorted(measured))
    first, second = (one.best for one in told(events, CheckpointWritten)[:2])
    assert (first, second) == (True, measured[10] >= measured[5])
    forget()
    highest = max(measured.values())
    assert summary(result.folder).best["within"] == highest
    assert f"{100 * highest:.1f} %" in netspec("runs", "--out", result.folder.parent.parent).out
    assert "best within" in netspec("compare", result.folder, result.folder).out
    assert compare(result.folder, result.folder).metrics["within"].better == "higher"
    assert "val within" in netspec("curves", result.folder).out


def test_early_stopping_goes_by_the_first() -> None:
    more = "train.early_stopping={patience: 1, min_delta: 2}"
    result, events = trained("numbers.yaml", "[within]", more, plugins=["within.py"])
    end = told(events, RunFinished)[0]
    best = max(one.errors["within"] for one in told(events, EvaluationDone))
    assert result.epoch == 2
    assert f"by more than 2 in 1 epoch; the best is within {100 * best:.1f} %: eval" in end.message


def test_shipped_ones_are_what_cost_layers_report() -> None:
    """The same numbers, made of answers on the host."""
    for spec, names in (("tiny.yaml", ("top1",)), ("numbers.yaml", ("rmse", "mae"))):
        result, _ = train(Path(spec).absolute())
        done = api.evaluate(result.folder, probabilities=True)
        found = Totals([make_metric({"type": name}) for name in names])
        if done.results is not None:
            rows = done.results.probabilities, done.results.label
        else:
            rows = done.numbers.prediction, done.numbers.target
        for part in (slice(0, 5), slice(5, None)):
            found.add(found.of(rows[0][part], rows[1][part]))
        assert found.values() == pytest.approx({name: done.errors[name] for name in names}, rel=1e-6)


def test_eval_and_table_measure_what_is_asked_for_beside() -> None:
    result, _ = train(Path("tiny.yaml").absolute())
    asked = ("--plugin", "balanced_error.py", "--metric", "balanced_error", "--devices", "cpu")
    said = netspec("eval", result.folder, *asked, "--json")
    found = json.loads(said.out)
    assert found["metrics"]["balanced_error"] == {"title": "balanced error", "unit": "%", "better": "lower"}
    share = f"{100 * found['errors']['balanced_error']:.1f} %"
    assert share in netspec("eval", result.folder, *asked).out
    rows = netspec("table", result.folder, *asked, "--views", 1, "--format", "csv").out.splitlines()
    assert rows[0].endswith(",balanced_error")
    assert float(rows[-1].rsplit(",", 1)[1]) == found["errors"]["balanced_error"]
    assert "balanced error" in netspec("table", result.folder, *asked, "--views", 1).out
    several = api.evaluate([result.folder] * 2, metrics=["balanced_error"], plugins=["balanced_error.py"])
    assert several.errors["balanced_error"] == found["errors"]["balanced_error"]
    said = netspec("eval", result.folder, "--metric", "mae")
    assert said.code == 1 and "'mae' is measured of numbers, and the network gives classes" in said.err
    said = netspec("eval", result.folder, "--metric", "tpo1")
    assert "--metric:1:10: unknown metric 'tpo1' (did you mean 'top1'?)" in said.err


@pytest.mark.parametrize(("name", "least"), [("top1", 2), ("top5", 6), ("some_plugins_own", 1)])
def test_a_top_5_error_needs_six_classes(name, least) -> None:
    assert tells(name, least) and tells(name, least - 1) is (least == 1)


def test_a_top_5_error_of_few_classes_is_told_where_it_is_asked_for() -> None:
    _, events = trained("tiny.yaml", "[top5]", "train.epochs=1")
    assert [done.errors.keys() for done in told(events, EvaluationDone)] == [{"top1", "top5"}]


def test_what_is_measured_of_one_network_alone_has_a_column() -> None:
    plain, _ = train(Path("tiny.yaml").absolute())
    other, _ = trained("tiny.yaml", "[balanced_error]", plugins=["balanced_error.py"])
    value = api.evaluate(other.folder, plugins=["balanced_error.py"]).errors["balanced_error"]
    for first, second in ((plain.folder, other.folder), (other.folder, plain.folder)):
        asked = (first, second, "--plugin", "balanced_error.py", "--devices", "cpu")
        found = {other.folder: f"{100 * value:.1f} %", plain.folder: "-"}
        lines = [line for line in netspec("eval", *asked).out.splitlines() if line.startswith(" ")]
        cells = [re.split(r"  +", line.strip()) for line in lines[:4]]
        assert len(cells[0]) == len(cells[2]) and cells[0][-1] == "balanced error"
        assert [row[-1] for row in cells[2:]] == [found[first], found[second]]
        lines = netspec("table", *asked, "--views", 1, "--format", "csv").out.splitlines()
        assert lines[0].endswith(",balanced_error")
        exact = {other.folder: str(value), plain.folder: ""}
        assert [line.rsplit(",", 1)[1] for line in lines[-3:-1]] == [exact[first], exact[second]]
        assert "balanced error" in netspec("table", *asked, "--views", 1).out


def test_of_numbers_too() -> None:
    result, _ = train(Path("numbers.yaml").absolute())
    done = api.evaluate(result.folder, metrics=[{"type": "within", "distance": 0.5}, "mse"], plugins=["within.py"])
    close = abs(done.numbers.prediction - done.numbers.target) <= 0.5
    assert done.errors["within"] == float(close.mean())
    assert done.errors["mse"] == pytest.approx(done.errors["rmse"] ** 2, rel=1e-6)
    assert "within" in netspec("eval", result.folder, "--metric", "within", "--devices", "cpu").out


@pytest.mark.parametrize(
    ("spec", "metrics", "message"),
    [
        ("tiny.yaml", "[balanced_eror]", "unknown metric 'balanced_eror' (did you mean 'balanced_error'?)"),
        ("tiny.yaml", "[top1, top1]", "the metric 'top1' is listed twice"),
        ("tiny.yaml", "top1", "'train.metrics' must be a list, got 'top1'"),
        ("tiny.yaml", "[{type: top1, k: 3}]", "unknown key 'k' in 'train.metrics.0'"),
        ("tiny.yaml", "[top5, rmse]", "--set:1:28: 'rmse' is measured of numbers, and the network gives classes"),
        ("numbers.yaml", "[top1]", "'top1' is measured of classes, and the network gives numbers"),
        ("numbers.yaml", "[{type: within, distance: -1}]", "'train.metrics.0.distance' must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(spec: str, metrics: str, message: str) -> None:
    for plugin in ("balanced_error.py", "within.py"):
        load_plugin(plugin)
    said = netspec("validate", spec, "--set", f"train.metrics={metrics}")
    assert said.code == 1 and message in said.out + said.err
    with pytest.raises(SpecError):
        check(load(spec, [f"train.metrics={metrics}"]))


def test_without_validation_images_there_is_nothing_to_measure() -> None:
    sets = ["train.metrics=[top1]", "data.source.val_images=0"]
    with pytest.raises(SpecError, match="metrics are measured in validation, and there are no validation images"):
        check(load("tiny.yaml", sets))


def test_specs_are_written_out_with_their_metrics() -> None:
    load_plugin("within.py")
    spec = load("numbers.yaml", ["train.metrics=[within, loss]"])
    assert spec.train.metrics == ({"type": "within", "distance": 0.1}, {"type": "loss"})
    assert from_canonical(canonical(spec)) == spec and loads(resolved(spec), "again.yaml") == spec


def test_a_run_keeps_what_decides() -> None:
    result, _ = trained("tiny.yaml", "[top5]", "train.epochs=1")
    with pytest.raises(NetspecError, match=r"train.metrics: top5 -> top1: .* as in train.metrics=\[top5, top1\]"):
        train(None, resume=str(result.folder), overrides=["train.metrics=[top1]", "train.epochs=2"])
    more = ["train.metrics=[top5, top1]", "train.epochs=2"]
    assert train(None, resume=str(result.folder), overrides=more)[0].epoch == 2


def test_a_metric_that_fails_is_told_with_its_line() -> None:
    Path("balanced_error.py").write_text(BALANCED.replace("answers.shape[1])[truth]", "answers.shape[1])[truth + 9]"))
    line = 1 + BALANCED[: BALANCED.index("images = np.eye")].count("\n")
    message = rf"balanced_error.py:{line}: metric 'balanced_error': IndexError: index \d+ is out of bounds"
    with pytest.raises(NetspecError, match=message):
        trained("tiny.yaml", "[balanced_error]", plugins=["balanced_error.py"])


@needs_mpi
def test_several_processes_have_the_same_figures() -> None:
    Path("tiny.yaml").write_text(TINY)
    words = ("tiny.yaml", "--plugin", "balanced_error.py", "--set", "train.metrics=[balanced_error]", "--epochs", 2)
    apart = ("--devices", "1/cpu:0,0/cpu:0")  # the loss, and so the answer, is not where checkpoints are written
    for out, processes, more in (("one", 1, ()), ("two", 2, ()), ("apart", 2, apart)):
        said = run_processes(processes, *words, *more, "--out", out)
        assert said.returncode == 0, said.stderr
    found = losses("one")
    assert losses("two") == found and losses("apart") == found
    assert sum("balanced_error" in errors for _, errors in found.values()) == 2


# Declared ------------------------------------------------------------------------------------------------------------


def test_runs_of_version_0_1_are_read_as_what_they_are() -> None:
    """They declare nothing; shipped metrics say the same of themselves."""
    names = ("loss", "top1", "top5", "rmse", "mae")
    assert {name: measure_of(name) for name in names} == declared(names)
    assert measure_of("top1") == Measure("top-1 error", "%", "lower")
    assert measure_of("mine") == Measure("mine error") and measure_of("aux.rmse") == Measure("aux.rmse", "")
    assert declared(["aux.top1"]) == {"aux.top1": Measure("aux top-1 error")}


@pytest.mark.parametrize(
    "data",
    [None, 3, [], *({"a": one} for one in (3, {"title": "a"}, {"title": "a", "unit": 1, "better": "lower"},
                                           {"title": "a", "unit": "", "better": "best"}))],
)  # fmt: skip
def test_what_declares_nothing_is_passed_over(data) -> None:
    assert measures_from(data) == {}


def test_what_is_not_finite_is_never_the_best() -> None:
    assert score_of("top1", 1.0, {"top1": math.nan}) == score_of("top1", math.inf, {"top1": 0.1}) == math.inf
    assert score_of("gone", 1.0, {}) == math.inf and score_of("loss", 0.5, {}) == 0.5


# The contract suite --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["balanced_error", "loss", "mae", "mse", "rmse", "top1", "top5", "within"])
def test_contract(name: str) -> None:
    for plugin in ("balanced_error.py", "within.py"):
        load_plugin(plugin)
    assert name in metric_types()
    found = list(checked(f"metrics.{name}"))
    assert not [result for result in found if result.status == "failed"]
    assert len([result for result in found if result.status == "passed"]) == (3 if name == "loss" else 7)


WRONG = [
    ("docs", '    """The share of numbers that are at most ``distance`` off."""\n', "", "has no docstring"),
    ("declared", '"numbers", "higher"', '"numbers", "more"', "better = 'more': write one of 'lower', 'higher'"),
    ("schema", '{"distance": 1.0}', '{"distance": -1.0}', "does not fit the attribute 'distance'"),
    ("value", "close.size], np.float64", "close.size], np.int64", "an array of int64: an array of float64 is needed"),
    ("value", "sums[0] / sums[1]", "sums[0]", "which is no share in [0, 1]"),
    ("value", "float(sums[0] / sums[1])", "sums", "a finite number is needed"),
    ("value", "close.size], np.float64", "close.size] * len(close), np.float64", "for 24 images and"),
    ("added", "[close.sum(), close.size]", "[close.mean(), 1]", "sums over images are needed"),
    ("order", "close.sum()", "close[:12].sum() + (close * np.arange(len(close))[:, None]).sum()", "in another order"),
    ("pure", "        close = abs", "        answers += 1\n        close = abs", "sums() alters what it is handed"),
]


@pytest.mark.parametrize(("check", "old", "new", "message"), WRONG)
def test_what_is_wrong_is_found_by_its_check(check: str, old: str, new: str, message: str) -> None:
    assert old in WITHIN
    Path("within.py").write_text(WITHIN.replace(old, new))
    load_plugin("within.py")
    found = {result.name: result.message for result in checked("metrics.within") if result.status == "failed"}
    assert message in found[check]
