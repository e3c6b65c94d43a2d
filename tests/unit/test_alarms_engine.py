"""Timelines: what is told to the engine, and what becomes of the alerts."""

from __future__ import annotations

import numpy as np
import pytest

from collector.alarms.engine import Engine
from collector.alarms.model import Alert
from collector.alarms.rules import parse_rules
from collector.core.bundle import joined
from collector.core.readings import DEVICE, Quality, Readings, SeriesKey, SeriesTable
from collector.core.records import Action
from collector.core.roster import Part
from devices.model import Device, Site
from devices.region import Region

S = 1_000_000_000
T0 = 1_764_000_000 * S

HIGH = 'select = { kind = "climate", metric = "temperature_c" }\nwhen = { above = 27 }'
HYSTERESIS = HIGH.replace("above = 27", "above = 27, clear_below = 25")
SLOW = HIGH.replace("above = 27", 'above = 27, for = "10s", keep = "20s"')
SMOKE = 'select = { kind = "climate", metric = "smoke" }\nwhen = { equals = true }'
SILENT = 'select = { kind = "climate" }\nwhen = { absent = "60s" }'
METRIC_SILENT = 'select = { metric = "humidity_pct" }\nwhen = { absent = "60s" }'
HOST_SILENT = 'select = { kind = "host" }\nwhen = { absent = "60s" }'


def world(*rules: str, devices: tuple[Device, ...] = (Device("s1", "c1", "climate"),)) -> Region:
    head = 'severity = "major"\nsummary = { id = "{value}", en = "{value}" }\n'
    tables = (f'[[rule]]\nname = "r{n}"\n{head}{rule}\n' for n, rule in enumerate(rules, 1))
    text = "\n".join(tables).encode()
    sites = {"s1": Site("s1", "Satu", "nagari")}
    known = {device.id: device for device in devices}
    files = {"rules/t.toml": text}
    name = repr((text, devices))
    return Region("r", "Asia/Jakarta", ("id",), (), "s1", sites, known, {}, {}, b"", files, {}, {}, name, {})


class Bench:
    """An engine, a clock in whole seconds from zero, and the story so far in words."""

    def __init__(self, *rules: str, devices: tuple[Device, ...] = (Device("s1", "c1", "climate"),)) -> None:
        self.table = SeriesTable()
        self.engine = Engine(self.table)
        self.devices = devices
        self.offset = 0
        self.actions = 0
        self.rules(*rules, at=0)

    def rules(self, *rules: str, at: float, devices: tuple[Device, ...] | None = None) -> None:
        self.region = world(*rules, devices=self.devices if devices is None else devices)
        self.set = parse_rules(self.region.rules, self.region)
        self.engine.region(self.region, self.set, self._now(at), self.offset)

    def read(self, at: float, metric: str, value: float, device: str = "c1", quality: int = 0) -> None:
        now = np.array([self._now(at)], np.int64)
        series = np.array([self.table.number(SeriesKey("s1", device, metric))], np.int32)
        row = Readings(series, now, np.array([float(value)]), np.array([quality], np.uint8), now)
        self.engine.rows(row, np.array([self.offset], np.int64))

    def temperatures(self, *pairs: tuple[float, float]) -> None:
        for at, value in pairs:
            self.read(at, "temperature_c", value)

    def watermark(self, at: float) -> None:
        self.engine.advance(self._now(at), self.offset)

    def gap(self, start: float, end: float) -> None:
        self.engine.gap(T0 + round(start * S), self._now(end), self.offset)

    def presence(self, at: float, device: str, online: bool) -> None:
        self.engine.state("s1", device, online, self._now(at), self.offset)

    def heard(self, at: float, device: str) -> None:
        self.engine.heard(SeriesKey("s1", device, DEVICE), self._now(at), self.offset)

    def act(self, at: float, name: str, alert: str = "", comment: str = "", **args: object) -> str:
        self.actions += 1
        action = Action(f"a{self.actions}", name, alert or self.alert.id, "budi", comment, args or None)
        self.engine.action(action, self._now(at), self.offset)
        done = self.engine.drain()[-1]
        assert done.action == action.id
        assert done.by == "budi"
        return f"refused: {done.comment}" if done.change == "refused" else done.change

    def story(self) -> list[str]:
        """What happened since it was last asked: kind and second."""
        return [f"{t.change} {(t.at - T0) / S:g}" for t in self.engine.drain() if t.kind == "alert"]

    @property
    def alert(self) -> Alert:
        (alert,) = self.engine.alerts.values()
        return alert

    def _now(self, at: float) -> int:
        self.offset += 1
        return T0 + round(at * S)


def test_a_value_beyond_the_limit_raises_and_one_at_the_limit_clears() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 27.0), (2, 27.1), (3, 28.0), (4, 27.0))
    assert bench.story() == ["raised 2", "cleared 4"]
    assert (bench.alert.value, bench.alert.count, bench.alert.acked) == (27.1, 1, False)


def test_between_limit_and_clear_nothing_changes() -> None:
    bench = Bench(HYSTERESIS)
    bench.temperatures((1, 26.0), (2, 28.0), (3, 26.0), (4, 25.0), (5, 26.9))
    assert bench.story() == ["raised 2"]
    bench.temperatures((6, 24.9))
    assert bench.story() == ["cleared 6"]


def test_for_delays_raising_until_the_deadline_and_the_alert_tells_the_last_value() -> None:
    bench = Bench(SLOW)
    bench.temperatures((1, 28.0), (5, 31.0), (30, 32.0))
    assert bench.story() == ["pending 1", "raised 11"]
    assert (bench.alert.at, bench.alert.raised_at, bench.alert.value) == (T0 + S, T0 + 11 * S, 31.0)


def test_a_reading_that_no_longer_violates_withdraws_and_nothing_stays() -> None:
    bench = Bench(SLOW)
    bench.temperatures((1, 28.0), (5, 27.0), (30, 26.0))
    assert bench.story() == ["pending 1", "withdrawn 5"]
    assert not bench.engine.alerts


def test_a_reading_at_the_very_deadline_comes_after_it() -> None:
    bench = Bench(SLOW)
    bench.temperatures((1, 28.0), (11, 20.0))
    assert bench.story() == ["pending 1", "raised 11"]


def test_keep_holds_it_active_and_a_relapse_starts_it_again() -> None:
    bench = Bench(SLOW)
    bench.temperatures((0, 28.0), (15, 20.0), (30, 28.0), (31, 20.0))
    assert bench.story() == ["pending 0", "raised 10"]
    bench.watermark(50.9)
    assert bench.story() == []
    bench.watermark(51)
    assert bench.story() == ["cleared 51"]


def test_no_data_changes_nothing() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    bench.watermark(1e6)
    assert bench.story() == ["raised 1"]
    assert bench.alert.condition == "active"


def test_raised_again_before_it_was_acknowledged_it_is_the_same_alert() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    first = bench.alert.id
    bench.temperatures((2, 20.0), (3, 28.0))
    assert (bench.alert.id, bench.alert.count, bench.alert.acked) == (first, 2, False)
    assert bench.act(4, "ack") == "acked"
    bench.temperatures((5, 20.0))
    assert not bench.engine.alerts
    bench.temperatures((6, 28.0))
    assert bench.alert.id != first
    assert bench.alert.count == 1


def test_acknowledged_while_cleared_it_is_over() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0), (2, 20.0))
    old = bench.alert.id
    assert bench.act(3, "ack", comment="saya cek") == "acked"
    assert not bench.engine.alerts
    assert bench.act(4, "ack", alert=old).startswith("refused: there is no such alert")


def test_a_boolean_equals() -> None:
    bench = Bench(SMOKE)
    for at, value in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 0)):
        bench.read(at, "smoke", value)
    assert bench.story() == ["raised 3", "cleared 5"]


def test_a_reading_that_is_late_old_retained_or_unclaimed_is_not_evaluated_but_a_wrong_clock_is() -> None:
    bench = Bench(HIGH)
    for quality in (Quality.LATE, Quality.OLD, Quality.RETAINED, Quality.UNCLAIMED):
        bench.read(1, "temperature_c", 99, quality=quality)
    assert bench.story() == []
    bench.read(2, "temperature_c", 99, quality=Quality.CLOCK)
    assert bench.story() == ["raised 2"]


def test_a_planned_device_is_silent_and_a_known_one_is_missed() -> None:
    bench = Bench(SILENT)
    bench.watermark(1_000)
    bench.heard(1_001, "c1")
    bench.watermark(2_000)
    assert bench.story() == []
    bench.temperatures((2_000, 20.0), (2_030, 20.0))
    bench.watermark(2_090)
    assert bench.story() == ["raised 2090"]
    assert (bench.alert.metric, bench.alert.value) == ("", None)
    bench.heard(2_100, "c1")
    assert bench.story() == ["cleared 2100"]
    bench.watermark(2_160)
    assert bench.story() == ["raised 2160"]


def test_a_late_reading_is_a_sign_of_life_of_the_device_but_not_of_the_series() -> None:
    bench = Bench(SILENT, METRIC_SILENT)
    bench.read(0, "humidity_pct", 50)
    bench.read(50, "humidity_pct", 50, quality=Quality.LATE)
    bench.watermark(100)
    assert bench.story() == ["raised 60"]
    assert bench.alert.rule == "r2"


def test_a_metric_is_missed_while_its_device_still_speaks() -> None:
    bench = Bench(METRIC_SILENT)
    bench.read(0, "humidity_pct", 50)
    bench.temperatures((50, 20.0), (70, 20.0))
    assert bench.story() == ["raised 60"]
    bench.read(80, "humidity_pct", 50)
    assert bench.story() == ["cleared 80"]


def test_after_a_gap_silence_is_counted_from_its_end() -> None:
    bench = Bench(SILENT)
    bench.temperatures((0, 20.0))
    bench.gap(20, 500)
    bench.watermark(559)
    assert bench.story() == []
    bench.watermark(560)
    assert bench.story() == ["raised 560"]


def test_what_was_due_before_a_gap_fires_and_what_fell_into_it_does_not() -> None:
    bench = Bench(SLOW, SILENT)
    bench.temperatures((0, 28.0))
    bench.gap(60, 500)
    assert bench.story() == ["pending 0", "raised 10", "raised 60"]


def test_after_a_gap_a_pending_for_starts_again_at_the_next_reading() -> None:
    bench = Bench(SLOW)
    bench.temperatures((0, 28.0))
    bench.gap(5, 100)
    bench.watermark(200)
    assert bench.story() == ["pending 0"]
    bench.temperatures((201, 29.0))
    bench.watermark(211)
    assert bench.story() == ["pending 201", "raised 211"]


def test_after_a_gap_a_pending_that_no_longer_violates_is_withdrawn() -> None:
    bench = Bench(SLOW)
    bench.temperatures((0, 28.0))
    bench.gap(5, 100)
    bench.temperatures((101, 20.0))
    assert bench.story() == ["pending 0", "withdrawn 101"]


def test_after_a_gap_a_running_keep_starts_again_at_the_next_reading() -> None:
    bench = Bench(SLOW)
    bench.temperatures((0, 28.0), (15, 20.0))
    bench.gap(20, 100)
    bench.temperatures((101, 20.0))
    bench.watermark(121)
    assert bench.story() == ["pending 0", "raised 10", "cleared 121"]


BEHIND = (Device("s1", "c1", "climate", via="host"), Device("s1", "host", "host"))


def test_behind_a_publisher_that_is_offline_a_device_is_unknown_and_never_absent() -> None:
    bench = Bench(SILENT, devices=BEHIND)
    bench.temperatures((0, 20.0))
    bench.presence(30, "host", online=False)
    bench.watermark(1_000)
    assert bench.story() == []
    assert bench.engine.presence() == {"host": "offline", "c1": "unknown"}
    bench.presence(1_000, "host", online=True)
    bench.watermark(1_060)
    assert bench.story() == ["raised 1060"]


def test_the_presence_of_one_device_is_what_the_presence_of_all_says() -> None:
    bench = Bench(SILENT, devices=BEHIND)
    asked = ("host", "c1", "stranger")
    for at, online in ((30, None), (40, False), (50, True)):
        if online is not None:
            bench.presence(at, "host", online=online)
        known = bench.engine.presence()
        assert [bench.engine.presence_of(each) for each in asked] == [known.get(each) for each in asked]


def test_behind_a_publisher_that_is_absent_a_device_is_unknown_too() -> None:
    bench = Bench(SILENT.replace("60s", "90s"), HOST_SILENT, devices=BEHIND)
    bench.read(0, "cpu_pct", 5, device="host")
    bench.temperatures((1, 20.0))
    bench.watermark(1_000)
    assert bench.story() == ["raised 60"]
    assert bench.alert.device == "host"


def test_both_silent_at_once_the_publisher_goes_first_and_explains_the_other() -> None:
    bench = Bench(SILENT, HOST_SILENT, devices=BEHIND)
    bench.temperatures((0, 20.0))
    bench.read(1, "cpu_pct", 5, device="host")
    bench.gap(10, 100)
    bench.watermark(1_000)
    assert bench.story() == ["raised 160"]
    assert bench.alert.device == "host"


def test_a_silence_that_is_pending_when_its_publisher_goes_is_not_raised() -> None:
    bench = Bench(SILENT.replace('"60s"', '"60s", for = "30s"'), devices=BEHIND)
    bench.temperatures((0, 20.0))
    bench.presence(70, "host", online=False)
    bench.watermark(500)
    assert bench.story() == ["pending 60"]
    bench.presence(500, "host", online=True)
    bench.watermark(600)
    assert bench.story() == ["pending 560", "raised 590"]


def test_a_reading_through_a_publisher_that_said_offline_brings_it_back() -> None:
    bench = Bench(SILENT, devices=(*BEHIND, Device("s1", "c2", "climate", via="host")))
    bench.temperatures((0, 20.0))
    bench.presence(30, "host", online=False)
    bench.read(100, "temperature_c", 20, device="c2")
    bench.watermark(160)
    assert bench.story() == ["raised 160", "raised 160"]


def test_shelving_is_a_hold_that_ends_by_itself() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    bench.story()
    assert bench.act(10, "shelve", seconds=60) == "shelved"
    assert bench.alert.state == "shelved"
    bench.watermark(70)
    assert bench.story() == ["unshelved 70"]
    assert (bench.alert.holds, bench.alert.shelved_until) == ((), None)


def test_shelving_lasts_an_hour_unless_told_and_can_be_ended() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    bench.act(10, "shelve")
    assert bench.alert.shelved_until == T0 + 3_610 * S
    assert bench.act(20, "unshelve") == "unshelved"
    bench.watermark(10_000)
    assert bench.story() == []


def test_shelving_outlives_the_alert_that_flaps() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    bench.act(2, "shelve", seconds=100)
    bench.act(3, "ack")
    bench.temperatures((4, 20.0), (5, 28.0))
    assert bench.alert.holds == ("shelved",)
    bench.watermark(102)
    assert bench.alert.holds == ()


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("unack", {}, "it is not acknowledged"),
        ("unshelve", {}, "it is not shelved"),
        ("shelve", {"seconds": 8 * 86_400}, "at most 604800"),
        ("shelve", {"seconds": 0}, "above 0"),
        ("shelve", {"seconds": True}, "must be a number"),
        ("shelve", {"seconds": float("nan")}, "must be a number"),
        ("comment", {}, "the comment is empty"),
        ("assign", {}, "whom"),
        ("explode", {}, "one of ack, unack, shelve, unshelve, comment, assign"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused_with_the_reason(
    name: str, args: dict[str, object], why: str
) -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    before = bench.alert
    answer = bench.act(2, name, **args)
    assert answer.startswith("refused: ")
    assert why in answer
    assert bench.alert == before


def test_what_was_never_raised_cannot_be_acknowledged() -> None:
    bench = Bench(SLOW)
    bench.temperatures((1, 28.0))
    assert "not raised yet" in bench.act(2, "ack")


def test_comment_assign_and_unack() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    assert bench.act(2, "comment", comment="AC mati") == "commented"
    assert bench.act(3, "assign", to="siti") == "assigned"
    assert bench.act(4, "ack") == "acked"
    assert bench.act(5, "unack") == "unacked"
    assert (bench.alert.assignee, bench.alert.acked) == ("siti", False)


def test_pending_again_before_it_was_acknowledged_it_still_waits_for_that() -> None:
    bench = Bench(SLOW)
    bench.temperatures((0, 28.0), (15, 20.0), (40, 28.0))
    assert bench.alert.condition == "pending"
    assert bench.alert.state == "returned_to_normal_unacknowledged"
    bench.temperatures((41, 20.0))
    assert bench.story() == ["pending 0", "raised 10", "cleared 35", "pending 40", "withdrawn 41"]
    assert (bench.alert.condition, bench.alert.acked, bench.alert.count) == ("cleared", False, 1)


def test_an_unchanged_rule_keeps_its_state_when_others_come_and_go() -> None:
    bench = Bench(SLOW)
    bench.temperatures((0, 28.0))
    bench.rules(SLOW, SMOKE, at=5)
    bench.watermark(10)
    assert bench.story() == ["pending 0", "raised 10"]


def test_alerts_whose_rule_or_device_is_gone_are_retired() -> None:
    bench = Bench(HIGH, SMOKE)
    bench.temperatures((1, 28.0))
    bench.read(2, "smoke", 1)
    bench.rules(HIGH, at=3)
    assert bench.story() == ["raised 1", "raised 2", "retired 3"]
    bench.rules(HIGH, at=4, devices=())
    assert bench.story() == ["retired 4"]
    assert not bench.engine.alerts


def test_a_changed_limit_leaves_the_alert_active_until_a_reading_clears_it() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    bench.rules(HIGH.replace("27", "30"), at=2)
    assert bench.story() == ["raised 1"]
    bench.temperatures((3, 28.0))
    assert bench.story() == ["cleared 3"]


def test_what_waited_under_a_changed_rule_waits_for_the_next_reading() -> None:
    bench = Bench(SLOW)
    bench.temperatures((0, 28.0))
    bench.rules(SLOW.replace("10s", "4s"), at=5)
    bench.watermark(20)
    assert bench.story() == ["pending 0"]
    bench.temperatures((21, 28.0), (30, 28.0))
    assert bench.story() == ["pending 21", "raised 25"]


def test_a_pending_alert_over_a_restart_still_tells_the_last_value() -> None:
    bench = Bench(SLOW)
    bench.temperatures((0, 28.0), (5, 31.0))
    bench.engine = Engine.load(SeriesTable(), bench.region, bench.set, bench.engine.save())
    bench.watermark(10)
    assert (bench.alert.condition, bench.alert.value) == ("active", 31.0)


def test_a_new_rule_on_silence_counts_from_when_it_holds() -> None:
    bench = Bench(HIGH)
    bench.temperatures((0, 20.0))
    bench.rules(SILENT, at=500)
    bench.watermark(559)
    assert bench.story() == []
    bench.watermark(560)
    assert bench.story() == ["raised 560"]


def test_a_device_or_metric_that_nobody_knows_has_no_rules() -> None:
    bench = Bench(HIGH, SILENT)
    bench.read(1, "temperature_c", 99, device="stranger")
    bench.read(2, "wobble", 99)
    bench.heard(3, "stranger")
    bench.presence(4, "stranger", online=False)
    bench.watermark(10)
    assert bench.story() == []


def test_the_alert_id_depends_on_rule_series_and_opening_record_only() -> None:
    ids = set()
    for first in ("a", "b"):
        bench = Bench(HIGH)
        bench.table.number(SeriesKey("s9", first, "x"))
        bench.temperatures((1, 28.0))
        ids.add(bench.alert.id)
    assert len(ids) == 1
    assert len(ids.pop()) == 16


def test_a_snapshot_that_is_damaged_or_of_another_region_is_refused() -> None:
    bench = Bench(HIGH)
    bench.temperatures((1, 28.0))
    data = bench.engine.save()
    other = world(SMOKE)
    with pytest.raises(ValueError, match="it is of region"):
        Engine.load(SeriesTable(), other, parse_rules(other.rules, other), data)
    lacking = {name: column for name, column in data.columns.items() if name != "heard"}
    shorter = data.columns | {"heard": data.columns["heard"][:-1]}
    stranger = data.columns | {"names": joined([("s1", "stranger")])}
    headless = {name: value for name, value in data.head.items() if name != "floor"}
    broken = [Part(headless, data.columns), Part(data.head | {"alarms": [["r1"]]}, data.columns)]
    for part in (*broken, *(Part(data.head, columns) for columns in (lacking, shorter, stranger))):
        with pytest.raises(ValueError, match="snapshot"):
            Engine.load(SeriesTable(), bench.region, bench.set, part)


def test_restored_under_other_rules_alerts_go_on_and_those_without_a_rule_are_retired() -> None:
    bench = Bench(SLOW, SMOKE)
    bench.temperatures((0, 28.0), (15, 20.0))
    bench.read(16, "smoke", 1)
    data = bench.engine.save()
    fewer = parse_rules(world(SLOW).rules, bench.region)
    bench.engine = Engine.load(bench.table, bench.region, fewer, data)
    again = Engine.load(bench.table, bench.region, fewer, bench.engine.save())
    assert len(again.alerts) == len(bench.engine.alerts) == 2
    bench.watermark(100)
    assert bench.story() == ["retired 100"]
    bench.temperatures((101, 20.0))
    bench.watermark(121)
    assert bench.story() == ["cleared 121"]


def test_without_a_region_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="no region yet"):
        Engine(SeriesTable()).heard(SeriesKey("s1", "c1", DEVICE), 1, 1)
