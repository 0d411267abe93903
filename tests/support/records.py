"""A checkpoint's record."""

from netspec.runners.training.checkpoint import Evaluated, Record

RECORD = Record(
    iteration=12,
    epoch=2,
    position=3,
    seed=7,
    batch=4,
    classes=("ant", "bée"),
    spec={"name": "fake", "layers": []},
    given={"name": "fake", "layers": []},
    data={"train": {"images": 22}},
    validation_errors=(0.5, 0.25),
    evaluated=Evaluated(12, 0.1, {"top1": 0.25}),
    netspec="0.1.0",
)
