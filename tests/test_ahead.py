"""Threads that work ahead of who needs it: in order, within bounds, and nothing is lost when something fails."""

import threading
import time
from contextlib import closing, suppress

import pytest

from segkit.runtime.ahead import Behind, in_order


def outcomes(items, work, **options):
    return in_order(items, work, **{"threads": 3, "ahead": 8, "weight": lambda _: 1, "most": 100, **options})


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_outcomes_keep_the_order_of_the_items(threads):
    def work(number):
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number * number

    assert list(outcomes(range(30), work, threads=threads)) == [n * n for n in range(30)]


def test_no_more_is_begun_than_there_is_room_for():
    """While one outcome is used, the next ones are made, until what they weigh reaches the bound."""
    begun = []
    found = outcomes(range(50), lambda n: begun.append(n) or n, threads=1, ahead=40, weight=lambda _: 10, most=45)
    assert next(found) == 0
    deadline = time.monotonic() + 10
    while len(begun) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(begun) <= 6  # the one that was taken, and 50 of weight
    assert [*found] == list(range(1, 50))


def test_what_is_needed_is_begun_also_without_room():
    assert list(outcomes(range(9), lambda n: n, weight=lambda _: 1000, most=1)) == list(range(9))


def test_an_error_comes_at_its_place_and_nothing_more_begins():
    begun = []

    def work(number):
        begun.append(number)
        if number == 2:
            raise ValueError("two")
        return number

    found = outcomes(range(1000), work, threads=2, ahead=4)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(found)
    assert len(begun) < 20
    assert not [each for each in threading.enumerate() if each.name.startswith("ahead")]


@pytest.mark.parametrize("threads", [0, 3])
def test_what_follows_keeps_the_order_and_what_was_begun_is_ended_after_an_error(threads):
    ended = []
    behind = Behind(
        lambda n: time.sleep(0.02 if n == 0 else 0) or -n, lambda n, out: ended.append((n, out)),
        threads=threads, ahead=5, weight=lambda _: 1, most=100,
    )  # fmt: skip
    with suppress(KeyboardInterrupt), closing(behind):
        for number in range(7):
            behind.put(number)
        raise KeyboardInterrupt
    assert ended == [(n, -n) for n in range(7)]


def test_work_that_fails_ends_what_is_put():
    put = threading.Event()

    def work(number):
        put.wait(10)
        raise OSError(28, "no space left")

    behind = Behind(work, lambda n, out: None, threads=2, ahead=1, weight=lambda _: 1, most=100)
    behind.put(0)
    put.set()
    with pytest.raises(OSError, match="no space left"):
        behind.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("behind")]
