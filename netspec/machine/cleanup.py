"""Clean-ups that never take the place of an error: what a failed block raised is what its caller hears."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_exit(action: Callable[[], object]) -> Iterator[None]:
    """Call ``action`` when the block ends; an exception of its own is dropped where the block raised one."""
    with on_error(action):
        yield
    action()


@contextlib.contextmanager
def on_error(action: Callable[[], object]) -> Iterator[None]:
    """Call ``action`` when the block raises, and raise the block's exception whatever the action does."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            action()
        raise


def close_after(error: BaseException | None, action: Callable[[], object]) -> None:
    """Call ``action`` as an ``__exit__`` does that was given ``error``, which it does not replace either."""
    with contextlib.suppress(Exception) if error else contextlib.nullcontext():
        action()
