"""Prediction from a checkpoint alone: its spec, its mean image and its classes, on any binding."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netspec._types import AnyImage, AnyPath, Binding, Prediction, Predictions
from netspec.data.frames import show_content
from netspec.data.geometry import Geometry, geometry_for
from netspec.data.image_files import image_files
from netspec.data.source import BrokenImage, read_regular_file
from netspec.data.workers.fetch import VIEWS
from netspec.errors import NetspecError
from netspec.events import Listener, Note
from netspec.machine.cleanup import close_after
from netspec.machine.tasks import task
from netspec.planning import Plan, build
from netspec.planning.trainable import only_image
from netspec.report.progress import heard
from netspec.runners.execution.session import Session
from netspec.runners.features import cut_off, named_layer
from netspec.runners.trained import nobody, open_trained, output_names
from netspec.runners.training.evaluation import rows_not_finite
from netspec.spec.types import Spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netspec.data.source import Content

PREDICTED_AT_ONCE = 32


class Predictor:
    """A trained network on its devices, ready to be asked again and again; see ``netspec.predictor``.

    ``predictor(images)`` gives float32 probabilities (N, classes), or the numbers (N, K) of a network that predicts
    numbers. An array is a batch as the network takes it, uint8 and resized and cropped: N images of ``shape``. A list
    holds pictures as ``predict`` takes them. Raises NetspecError for arrays of another shape or type, for a picture
    that cannot be read, and where an answer is not finite.

    ``predictor.activations(images, "conv3")`` gives what a layer gives. ``classes`` names the outputs, ``shape`` is an
    image's as the network takes it (height, width, channels), ``checkpoint`` the file. Calls of several threads take
    turns. A size of batch has memory of its own, parameters included, made when it is first asked for and used again
    for calls of that size down to over half of it. While any is open BLAS has one thread. ``close``, a ``with`` block
    or the last reference's end give all of it back.
    """

    def __init__(
        self,
        path: AnyPath,
        binding: Binding | None = None,
        batch: int | None = None,
        listener: Listener | None = None,
        progress: bool | None = None,
    ) -> None:
        if batch is not None and batch < 1:
            raise NetspecError(f"batch must be 1 or more, got {batch}")
        self._binding, self._most = binding or Binding(), batch or PREDICTED_AT_ONCE
        self._hear = partial(heard, listener, progress)
        with self._hear() as hear:
            self._trained = open_trained(Path(path), self._binding, hear or nobody)
        spec = self._trained.spec
        self._input = only_image(spec)
        self.shape = spec.inputs[self._input].shape
        self._geometry = geometry_for(spec.data, self.shape)
        self._plan = build(spec, "predict", 1)
        self._words = self._trained.record.words
        self.classes, self.checkpoint = output_names(self._trained), self._trained.file
        self._sessions: dict[tuple[str | None, int], Session] = {}
        self._lock, self._opened = threading.RLock(), ExitStack()
        self._close = weakref.finalize(self, self._opened.close)

    def __call__(self, images: NDArray[np.uint8] | AnyImage | Iterable[AnyImage]) -> NDArray[np.float32]:
        """See the class."""
        return self._rows(images, None)

    def activations(
        self, images: NDArray[np.uint8] | AnyImage | Iterable[AnyImage], layer: str
    ) -> NDArray[np.float32]:
        """What a layer gives for images, as a call takes them: (N, ...), the parts of all devices joined.

        The network is computed as far as that layer, in a session of its own that is kept. Raises NetspecError, also
        where there is no layer of that name.
        """
        return self._rows(images, layer)

    def _rows(
        self, images: NDArray[np.uint8] | AnyImage | Iterable[AnyImage], layer: str | None
    ) -> NDArray[np.float32]:
        """The network's answers, or what a layer gives."""
        given = self._checked(images) if isinstance(images, np.ndarray) else image_files(_listed(images))[0]
        answers = []
        with self._lock, self._hear() if len(given) > self._most else nullcontext():
            for start, rows, wrong in self._answers(given, layer):
                for row, reason in sorted(wrong.items()):
                    raise NetspecError(f"{_path_of(given[start + row], start + row)}: {reason}")
                answers.append(rows)
        return np.concatenate(answers) if len(answers) != 1 else answers[0]

    def predict(self, images: AnyImage | Iterable[AnyImage], top: int = 5) -> list[Prediction]:
        """The ``top`` classes of each image, in order; see ``netspec.predict``."""
        found = Predictions()
        with self._lock, self._hear() as hear:
            given, notes = image_files(_listed(images))
            for note in notes:
                (hear or nobody)(Note(note))
            for start, rows, wrong in self._answers(given) if given else ():
                for row, answer in enumerate(rows):
                    path = _path_of(given[start + row], start + row)
                    found.append(self._prediction(path, answer, wrong.get(row), top))
        return found

    def close(self) -> None:
        """End threads and give devices back; a later call raises NetspecError."""
        with self._lock:
            self._close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        close_after(error, self.close)

    def __repr__(self) -> str:
        return f"Predictor({self._trained.spec.name}, {self.checkpoint.name})"

    def _checked(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        if batch.dtype != np.uint8 or batch.shape[1:] != self.shape:
            wanted = ", ".join(map(str, ("N", *self.shape)))
            raise NetspecError(
                f"an array must be a batch of uint8 ({wanted}), resized and cropped, got {batch.dtype} {batch.shape}; "
                "a list may hold images of any size"
            )
        return batch

    def _answers(
        self, given: Sequence[Any] | NDArray[np.uint8], layer: str | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32], dict[int, str]]]:
        """For each batch the place of its first image, the answers, and by row why one is none."""
        if not len(given):
            yield 0, np.empty((0, *_outputs(build(self._cut(layer), "predict", 1))), np.float32), {}
            return
        size, what = self._size(len(given), layer), "numbers" if self._plan.numbers else "probabilities"
        session, what = self._session(size, layer), what if layer is None else f"activations of {layer}"
        with task("predicting images", len(given)) as tell:
            for start in range(0, len(given), size):
                some = given[start : start + size]
                crops, reasons = self._cropped(some, size)
                rows = session.predict({self._input: crops}, len(some))
                yield start, rows, {**rows_not_finite(session, {self._input: crops}, rows, what), **reasons}
                tell(len(some))

    def _cut(self, layer: str | None) -> Spec:
        """The network as far as a layer, or all of it."""
        return self._trained.spec if layer is None else cut_off(self._trained.spec, named_layer(self._trained, layer))

    def _size(self, count: int, layer: str | None) -> int:
        """Images that are worked on at once: of a call, or of an earlier one where that wastes less than half."""
        size = min(count, self._most)
        made = (made for of, made in self._sessions if of == layer and size <= made < 2 * size)
        return min(made, default=size)

    def _session(self, size: int, layer: str | None) -> Session:
        if not self._close.alive:
            raise NetspecError(f"{self.checkpoint}: this predictor is closed")
        if (layer, size) not in self._sessions:
            spec = self._cut(layer)
            with self._hear():
                session = self._trained.session(self._binding, "predict", size, nobody, spec)
            self._sessions[layer, size] = self._opened.enter_context(session)
        return self._sessions[layer, size]

    def _cropped(
        self, some: Sequence[Any] | NDArray[np.uint8], size: int
    ) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """Images as the network takes them, in a batch of that size, and by row why one is none."""
        if isinstance(some, np.ndarray) and len(some) == size:
            return some, {}
        crops = np.zeros((size, *self.shape), np.uint8)
        if isinstance(some, np.ndarray):
            crops[: len(some)] = some
            return crops, {}
        reasons = ((row, _crop(image, self._geometry, crops[row])) for row, image in enumerate(some))
        return crops, {row: reason for row, reason in reasons if reason}

    def _prediction(self, path: str, answer: NDArray[np.float32], reason: str | None, top: int) -> Prediction:
        if self._plan.numbers:
            return Prediction(path, (), reason, numbers=() if reason else tuple(answer.tolist()))
        best_first = () if reason else _top(answer, self.classes, top)
        return Prediction(path, best_first, reason, tuple(self._words.get(name, "") for name, _ in best_first))


def _outputs(plan: Plan) -> tuple[int, ...]:
    """The shape of an answer."""
    assert plan.answer is not None
    return plan.buffers[plan.answer].shape[1:]


def _listed(images: AnyImage | Iterable[AnyImage]) -> list[Any]:
    """The images, of which one path or picture may stand alone."""
    return [images] if isinstance(images, str | os.PathLike | Image.Image) else list(images)


def _crop(image: Any, geometry: Geometry, out: np.ndarray[Any, Any]) -> str | None:
    """Write the image's central crop; the reason where it cannot be read, and black instead."""
    try:
        show_content(_pixels(image), geometry, VIEWS[:1], out[None])
    except (BrokenImage, OSError) as error:
        out[:] = 0
        return error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return None


def _pixels(image: Any) -> Content:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray) and image.ndim == 4:
        return tuple(map(_picture, image))
    if isinstance(image, np.ndarray):
        return _picture(image)
    return read_regular_file(os.fsencode(image))


def _picture(image: np.ndarray[Any, Any]) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise BrokenImage(f"an array must be uint8 of shape (H, W) or (H, W, 3), got {image.dtype} {image.shape}")
    return Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image)


def _path_of(image: Any, number: int) -> str:
    return os.fsdecode(image) if isinstance(image, str | bytes | os.PathLike) else f"image {number}"


def _top(probs: np.ndarray[Any, Any], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-probs, kind="stable")[:top]
    return tuple(_named(int(index), float(probs[index]), classes) for index in order)


def _named(index: int, probability: float, classes: Sequence[str]) -> tuple[str, float]:
    return (classes[index] if index < len(classes) else f"output {index}"), probability
