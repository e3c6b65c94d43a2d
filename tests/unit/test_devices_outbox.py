"""The outbox: order, bounds, and what goes out again."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from devices.outbox import Outbox, Outgoing


def message(number: int) -> Outgoing:
    return Outgoing("t", str(number).encode())


def filled(count: int, capacity: int = 100) -> Outbox:
    box = Outbox(capacity, keep_s=10)
    for number in range(1, count + 1):
        box.put(message(number))
    return box


def take_all(box: Outbox) -> list[int]:
    found = []
    while (item := box.take()) is not None:
        assert item[1] == message(item[0])
        found.append(item[0])
    return found


def test_messages_leave_in_order() -> None:
    assert take_all(filled(5)) == [1, 2, 3, 4, 5]


def test_what_was_in_flight_waits_again_after_a_disconnect_before_what_came_later() -> None:
    box = filled(3)
    box.take()
    box.take()
    box.disconnected()
    assert take_all(box) == [1, 2, 3]


def test_an_acknowledged_message_goes_out_again_within_ten_seconds() -> None:
    box = filled(3)
    take_all(box)
    box.settle(1, now=0.0)
    box.settle(2, now=5.0)
    box.settle(3, now=9.9)
    box.disconnected()
    assert take_all(box) == [1, 2, 3]


def test_an_acknowledgement_ten_seconds_later_lets_it_go() -> None:
    box = filled(3)
    take_all(box)
    box.settle(1, now=0.0)
    box.settle(2, now=0.1)
    box.settle(3, now=10.0)
    box.disconnected()
    assert take_all(box) == [2, 3]


def test_silence_lets_nothing_go_since_it_may_be_a_dead_line() -> None:
    box = filled(1)
    take_all(box)
    box.settle(1, now=0.0)
    box.disconnected()  # hours later
    assert take_all(box) == [1]


def test_a_resent_message_is_kept_as_long_again() -> None:
    box = filled(1)
    take_all(box)
    box.settle(1, now=0.0)
    box.disconnected()
    take_all(box)
    box.settle(1, now=100.0)
    box.disconnected()
    assert take_all(box) == [1]
    assert box.acked == 2


def test_a_refused_message_is_counted_and_not_sent_again() -> None:
    box = filled(2)
    take_all(box)
    box.refuse(1)
    box.disconnected()
    assert take_all(box) == [2]
    assert box.refused == 1


def test_the_oldest_are_dropped_when_it_is_full() -> None:
    box = filled(7, capacity=3)
    assert take_all(box) == [5, 6, 7]
    assert box.dropped == 4


def test_what_the_broker_had_once_makes_room_first() -> None:
    box = filled(3, capacity=3)
    take_all(box)
    box.settle(1, now=0.0)
    box.put(message(4))
    assert (box.forgotten, box.dropped) == (1, 0)
    box.settle(2, now=0.0)
    box.disconnected()
    box.put(message(5))
    assert (box.forgotten, box.dropped) == (2, 0)
    assert take_all(box) == [3, 4, 5]


def test_a_late_acknowledgement_of_something_dropped_changes_nothing() -> None:
    box = filled(1, capacity=1)
    box.take()
    box.put(message(2))
    box.settle(1, now=0.0)
    assert (box.dropped, box.acked) == (1, 0)
    assert take_all(box) == [2]


def test_an_outbox_holds_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Outbox(0)


class Life(RuleBasedStateMachine):
    """Whatever happens: bounded, and each message is waiting, flying, kept, settled long ago, or counted."""

    def __init__(self) -> None:
        super().__init__()
        self.box = Outbox(8, keep_s=10)
        self.now = 0.0
        self.made = 0
        self.flying: list[int] = []
        self.let_go: set[int] = set()

    @rule()
    def put(self) -> None:
        self.made += 1
        self.box.put(message(self.made))

    @rule()
    def take(self) -> None:
        item = self.box.take()
        if item is not None:
            assert not self.flying or item[0] > self.flying[-1], "order within a connection"
            self.flying.append(item[0])

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.flying))
        self.box.settle(number, self.now)

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def disconnect(self) -> None:
        self.box.disconnected()
        self.flying.clear()

    @invariant()
    def bounded_and_accounted(self) -> None:
        assert len(self.box) <= 8
        held = len(self.box) + self.box.dropped + self.box.forgotten
        assert held <= self.made
        assert self.made - held <= self.box.acked, "only what was acknowledged may be gone uncounted"


TestLife = Life.TestCase


def test_what_nobody_heard_waits_again_in_its_old_place() -> None:
    box = filled(4)
    for _ in range(3):
        box.take()
    box.unheard(2)
    box.unheard(1)
    box.settle(3, now=1.0)
    assert box.pending == 3
    assert take_all(box) == [1, 2, 4]
    assert (box.acked, box.dropped, box.refused) == (1, 0, 0)
