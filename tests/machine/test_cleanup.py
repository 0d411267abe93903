"""What a failed block raised is what its caller hears, whatever happens to its clean-ups."""

import pytest

from netspec.machine.cleanup import close_after, on_error, on_exit


class Action:
    """Counts its calls, and fails if told to."""

    def __init__(self, error=None):
        self.calls, self.error = 0, error

    def __call__(self):
        self.calls += 1
        if self.error is not None:
            raise self.error


def test_it_is_called_once_whether_the_block_fails_or_not():
    for guard, without in ((on_exit, 1), (on_error, 0)):
        action = Action()
        with guard(action):
            pass
        assert action.calls == without
        with pytest.raises(KeyError), guard(action):
            raise KeyError("the block")
        assert action.calls == without + 1


@pytest.mark.parametrize("guard", [on_exit, on_error])
@pytest.mark.parametrize("error", [KeyError("the block"), KeyboardInterrupt("the block")])
def test_it_does_not_replace_the_blocks_error(guard, error):
    with pytest.raises(type(error), match="the block") as caught, guard(Action(OSError("the clean-up"))):
        raise error
    assert caught.value is error


def test_its_own_error_is_raised_where_there_is_no_other():
    with pytest.raises(OSError, match="the clean-up"), on_exit(Action(OSError("the clean-up"))):
        pass
    with pytest.raises(OSError, match="the clean-up"):
        close_after(None, Action(OSError("the clean-up")))
    close_after(KeyError("the block"), Action(OSError("the clean-up")))


def test_nested_ones_are_all_called():
    first, second = Action(), Action(OSError("the clean-up"))
    with pytest.raises(KeyError), on_exit(first), on_exit(second):
        raise KeyError("the block")
    assert (first.calls, second.calls) == (1, 1)
