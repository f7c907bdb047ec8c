from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from jobs.run.interrupt import Interrupt


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put the handlers of the test process back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_stops_at_once(number: signal.Signals) -> None:
    with Interrupt() as interrupt:
        signal.raise_signal(number)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_under_torchrun_sigterm_may_come_twice_and_ctrl_c_still_stops_at_once() -> None:
    with Interrupt(under_torchrun=True) as interrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_process_that_fails_under_torchrun_says_so_before_it_is_ended() -> None:
    with pytest.raises(ValueError, match="mine"), Interrupt(under_torchrun=True):
        raise ValueError("mine")
    signal.raise_signal(signal.SIGTERM)  # would end the test process
    with Interrupt(under_torchrun=True):
        pass
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # as it was before
