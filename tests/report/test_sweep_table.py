"""The table of a sweep: means and spreads over seeds, of finished runs alone."""

import csv
import io
import statistics

import pytest

from netspec._types import Trial
from netspec.report.sweep_table import as_csv, as_table, rows_of, spread

TOP1 = {"a": [0.40, 0.44, 0.42], "b": [0.30, 0.35], "c": [0.5]}


def trials() -> list[Trial]:
    done = [
        Trial(name, {"train.batch": "8"}, seed, "finished", errors={"top1": top1}, loss=2 * top1, seconds=30.0)
        for name, values in TOP1.items()
        for seed, top1 in enumerate(values)
    ]
    return [*done, Trial("b", {"train.batch": "8"}, 7, "failed", message="NaN")]


def test_spread_is_that_of_the_textbook() -> None:
    found = spread(TOP1["a"])
    assert (found.n, found.mean) == (3, pytest.approx(0.42))
    assert found.sd == pytest.approx(0.02)
    assert found.se == pytest.approx(0.02 / 3**0.5)
    assert (spread([0.5]).sd, spread([0.5]).se) == (None, None)


def test_a_row_holds_the_runs_that_differ_by_their_seeds() -> None:
    rows = rows_of(trials())
    assert [(row.group, row.finished, len(row.runs)) for row in rows] == [
        ("a train.batch=8", 3, 3),
        ("b train.batch=8", 2, 3),
        ("c train.batch=8", 1, 1),
    ]
    assert rows[1].results["loss"].mean == pytest.approx(0.65)


def test_for_people_with_the_distance_from_the_first_row() -> None:
    table = as_table(rows_of(trials()))
    assert table.columns == ("net", "runs", "top-1 error", "loss", "against the first", "took")
    assert table.rows[0][2:5] == ("42.00 ± 2.00 % (se 1.15)", "0.8400 ± 0.0400 (se 0.0231)", "")
    assert table.rows[1][1:3] == ("2 of 3", "32.50 ± 3.54 % (se 2.50)")
    assert table.rows[1][4] == f"-9.50 (se {100 * (0.0002 / 1.5 + 0.025**2) ** 0.5:.2f})"
    assert table.rows[2][2:5] == ("50.00 %", "1.0000", "+8.00")


def test_csv_has_a_column_for_each_number() -> None:
    first, *others = csv.DictReader(io.StringIO(as_csv(rows_of(trials()))))
    assert (first["name"], first["train.batch"], first["runs"]) == ("a", "8", "3")
    assert float(first["top1_sd"]) == pytest.approx(statistics.stdev(TOP1["a"]))
    assert (others[1]["top1_mean"], others[1]["top1_sd"]) == ("0.5", "")


def test_a_group_without_a_finished_run_has_no_numbers() -> None:
    table = as_table(rows_of([Trial("a", {}, 0, "finished", errors={"top1": 0.5}), Trial("b", {}, 0, "failed")]))
    assert table.rows[1][1:] == ("0 of 1", "-", "-", "0.0 s")
