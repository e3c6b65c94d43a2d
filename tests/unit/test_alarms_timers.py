"""Timers: who sets one is called back with its key, in an order that is the same in every process."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from collector.alarms.timers import NEVER, Due, Key, Owner, TimerQueue


@dataclass
class Diary:
    """An owner that writes down what it is called back with; `put_off` are deadlines that moved since."""

    name: str
    queue: TimerQueue
    put_off: dict[Key, int | None] = field(default_factory=dict)
    pages: list[tuple[str, Key, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue.owners[self.name] = Owner(self.put_off.get, self.fire)

    def fire(self, key: Key, deadline: int, offset: int) -> None:
        self.pages.append((self.name, key, deadline, offset))


def test_each_owner_is_called_back_with_its_own_keys_at_their_deadlines_and_not_before() -> None:
    queue, pages = TimerQueue(), []
    for name in ("escalation", "expiry"):
        Diary(name, queue, pages=pages)
    queue.set(30, "escalation", ("incident-1", "2"))
    queue.set(10, "expiry", ("command-7",))
    queue.set(20, "escalation", ("incident-1", "1"))
    queue.fire(9, 4)
    assert pages == []
    queue.fire(20, 5)
    assert pages == [("expiry", ("command-7",), 10, 5), ("escalation", ("incident-1", "1"), 20, 5)]
    assert queue.soonest(NEVER) == 30


def test_what_explains_goes_before_what_it_explains_then_key_then_owner() -> None:
    queue, pages = TimerQueue(), []
    for name in ("absence", "delay"):
        Diary(name, queue, pages=pages)
    queue.set(10, "absence", ("a", "behind"))
    queue.set(10, "delay", ("z", "publisher"))
    queue.set(10, "absence", ("z", "publisher"), rank=0)
    queue.set(10, "delay", ("a", "behind"))
    queue.fire(10, 0)
    assert [page[:2] for page in pages] == [
        ("absence", ("z", "publisher")),
        ("absence", ("a", "behind")),
        ("delay", ("a", "behind")),
        ("delay", ("z", "publisher")),
    ]


def test_one_that_was_put_off_falls_later_and_a_void_one_never() -> None:
    queue = TimerQueue()
    diary = Diary("o", queue, put_off={("late",): 25, ("void",): None})
    queue.set(10, "o", ("late",))
    queue.set(11, "o", ("void",))
    assert queue.soonest(20) is None
    queue.fire(24, 0)
    assert diary.pages == []
    queue.fire(25, 0)
    assert diary.pages == [("o", ("late",), 25, 0)]


def test_a_timer_that_sets_another_one_lets_it_fall_in_its_turn() -> None:
    queue, fired = TimerQueue(), []

    def fire(key: Key, deadline: int, offset: int) -> None:
        fired.append(deadline)
        queue.set(deadline + 7, "o", key)

    queue.owners["o"] = Owner(lambda key, at: at, fire)
    queue.set(1, "o", ("again",))
    queue.fire(20, 0)
    assert fired == [1, 8, 15]
    assert queue.earliest == 1


NAMES = st.sampled_from(["", "a", "b"])
DUES = st.lists(
    st.builds(Due, st.integers(0, 5), st.integers(0, 1), st.tuples(NAMES, NAMES), NAMES), max_size=9
)


@given(DUES)
def test_the_order_does_not_depend_on_the_order_in_which_they_were_set(dues: list[Due]) -> None:
    told = []
    for turn in (dues, dues[::-1]):
        queue, pages = TimerQueue(), []
        for name in ("", "a", "b"):
            Diary(name, queue, pages=pages)
        for due in turn:
            queue.set(due.deadline, due.owner, due.key, due.rank)
        queue.fire(5, 0)
        told.append(pages)
    assert told[0] == told[1] == [(due.owner, due.key, due.deadline, 0) for due in sorted(dues)]
