"""``netspec eval``: errors over a set of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run
from netspec.data.settings import VIEW_COUNTS, ViewCount

if TYPE_CHECKING:
    from netspec.evaluation.evaluation_result import Evaluation

VIEWS: dict[str, ViewCount] = {str(number): number for number in VIEW_COUNTS}


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@options.data
@options.devices
@options.split
@options.views
@click.option("--classes", "by_class", is_flag=True, help="Show errors by class too, the worst first.")
@click.option("--confusion", is_flag=True, help="Show which classes are taken for which.")
@click.option("--out", metavar="FILE", help="Write what was seen in each image: FILE.csv or FILE.parquet.")
@click.option("--top", metavar="N", type=click.IntRange(min=1), help="Classes an image in FILE; 5 by default.")
@click.option("--probabilities", is_flag=True, help="The probabilities of all classes in FILE.")
@options.metrics
@options.batch
@options.plugins
@options.trust
@options.runner
@options.workers
@options.as_json
def command(
    runs: tuple[str, ...],
    views: str | None,
    by_class: bool,
    confusion: bool,
    out: str | None,
    top: int | None,
    probabilities: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Loss and errors of trained networks over a set of images, each image counted once.

    RUN is a run's folder, of which the best checkpoint is taken, a folder of runs, of which the newest is, or a
    checkpoint file. It evaluates on any devices, whatever it was trained on. DIR needs no training images: DIR/val or
    DIR/test of class folders will do, or the class folders themselves, named as the run's classes are; some may be
    missing. Images that cannot be read are counted and named, and left out.

    Of several RUNs the probabilities are averaged, as the paper's five and seven networks are. Each is shown alone too,
    and which of them differ by more than noise (McNemar's test). They may differ in all but their classes.

    Of a network that predicts numbers it is how far they are off, beside predicting the mean of the set's targets.

    \b
    Examples:
      netspec eval runs/quickstart/2026-01-31_12-00-00
      netspec eval runs/alexnet/2026-01-31_12-00-00 --data imagenet/ --views 10
      netspec eval runs/alexnet/* --data imagenet/ --views 10 --out seen.parquet
      netspec eval RUN --data photos/ --classes --confusion
      netspec eval RUN --split train --json
    """
    from netspec.api import evaluate
    from netspec.errors import NetspecError
    from netspec.report.progress import progress
    from netspec.runners.scoring import need_classes

    if not out and (top is not None or probabilities):
        raise click.UsageError("--top and --probabilities say what is in FILE: name it with --out FILE")
    if top is not None or probabilities or by_class or confusion:
        need_classes([Path(run) for run in runs])
    _check(out)
    with progress(stderr=as_json) as listener:
        done = evaluate(
            [newest_run(run, trained=True) for run in runs],
            views=VIEWS.get(views or ""),
            top=top or 5,
            probabilities=probabilities,
            listener=listener,
            **given,
        )
    if done.numbers is not None and (top is not None or probabilities or by_class or confusion):
        raise NetspecError(f"{done.run}: the network predicts numbers, so there are no classes to be shown")
    if done.results is None and done.numbers is None and (out or by_class or confusion):
        raise NetspecError(f"{done.run}: the network gives no class probabilities: there is its loss alone")
    _write(out, done)
    if as_json:
        _emit(done, confusion)
    else:
        _show(done, by_class, confusion)


def _check(out: str | None) -> None:
    from netspec.evaluation.predictions_file import ENDINGS
    from netspec.evaluation.table_files import check_file

    if out:
        check_file(Path(out), ENDINGS)


def _write(out: str | None, done: Evaluation) -> None:
    from netspec.evaluation.predictions_file import write_predictions

    if out:
        write_predictions(Path(out), done)


def _emit(done: Evaluation, confusion: bool) -> None:
    from netspec.evaluation.evaluation_result import as_data

    emit_json(as_data(done, confusion))


def _show(done: Evaluation, by_class: bool, confusion: bool) -> None:
    from netspec.report import evaluation_tables as tables
    from netspec.report import number_tables
    from netspec.report.tables import show

    if done.numbers is not None:
        show(*number_tables.networks(done), *number_tables.numbers(done), *number_tables.differences(done))
    if done.results is None:
        return
    show(*tables.networks(done), *tables.differences(done))
    if by_class:
        show("", tables.classes(done))
    if confusion:
        show("", tables.confusion(done))
