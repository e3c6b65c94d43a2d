"""The engine against a model that looks at one row at a time, over random journals cut in random ways."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.alarms import life
from collector.alarms.engine import Engine
from collector.alarms.kinds.equals import Equals
from collector.alarms.kinds.limit import Limit
from collector.alarms.model import Alert, Transition
from collector.alarms.rules import Rule, RuleSet, parse_rules
from collector.core.bundle import pack, unpack
from collector.core.decision import Decision, PresenceChange
from collector.core.readings import DEVICE, Quality, Readings, SeriesKey, SeriesTable
from collector.core.records import Action
from collector.core.roster import Part
from devices.model import Device, Site
from devices.region import Region

S = 1_000_000_000
T0 = 1_764_000_000 * S
TEXT = 'summary = { id = "{value}", en = "{value}" }'

RULES = f"""
[[rule]]
name = "a-high"
select = {{ kind = "ont", metric = "temperature_c" }}
when = {{ above = 2, clear_below = 1, for = "3s", keep = "4s" }}
severity = "major"
{TEXT}
[[rule]]
name = "b-higher"
select = {{ kind = "ont", metric = "temperature_c" }}
when = {{ above = 3 }}
severity = "critical"
{TEXT}
[[rule]]
name = "c-low"
select = {{ kind = "ont", metric = "temperature_c" }}
when = {{ below = 0, clear_above = 1, keep = "2s" }}
severity = "minor"
{TEXT}
[[rule]]
name = "d-two"
select = {{ kind = "ont", metric = "temperature_c" }}
when = {{ equals = 2, for = "2s" }}
severity = "warning"
{TEXT}
[[rule]]
name = "e-silent"
select = {{ kind = "ont" }}
when = {{ absent = "9s", for = "2s", keep = "3s" }}
severity = "major"
{TEXT}
[[rule]]
name = "f-metric-silent"
select = {{ kind = "ont", metric = "rx_dbm" }}
when = {{ absent = "7s" }}
severity = "minor"
{TEXT}
[[rule]]
name = "g-host-silent"
select = {{ kind = "host" }}
when = {{ absent = "9s", keep = "3s" }}
severity = "critical"
{TEXT}
"""
CHANGED = (
    RULES.replace("above = 3 ", "above = 2.5 ")
    .replace('"7s"', '"5s"')
    .replace('name = "d-two"', 'name = "d-new"')
    .replace('for = "3s"', 'for = "1s"')
)


def region(rules: str, without: str = "") -> Region:
    sites = {"s1": Site("s1", "Satu", "nagari"), "s2": Site("s2", "Dua", "nagari")}
    listed = [
        Device("s1", "host", "host"),
        Device("s1", "o1", "ont"),
        Device("s2", "o2", "ont", via="host"),
        Device("s2", "o3", "ont", via="host"),
    ]
    devices = {device.id: device for device in listed if device.id != without}
    files = {"rules/x.toml": rules.encode()}
    return Region(
        "r",
        "Asia/Jakarta",
        ("id", "en"),
        (),
        "s1",
        sites,
        devices,
        {},
        {},
        b"",
        files,
        {},
        {},
        f"{hash(rules)}{without}",
        {},
    )


REGIONS = [region(RULES), region(CHANGED), region(RULES, without="o3")]
SETS = [parse_rules(each.rules, each) for each in REGIONS]
SITE = {"host": "s1", "o1": "s1", "o2": "s2", "o3": "s2", "o9": "s2"}


@dataclass(frozen=True)
class Op:
    """A record: its kind, the seconds since the one before, and what it holds."""

    kind: str
    step: int
    data: Any = None


@dataclass
class Spot:
    """The model's memory of one rule on one series."""

    rule: Rule
    key: SeriesKey
    phase: str = "normal"
    due: int | None = None
    alert: Alert | None = None
    shelf: int | None = None
    armed: bool = False
    seen: int = 0
    since: int = 0
    value: float | None = None


class Model:
    """Says the same as the engine, one row and one deadline at a time, by looking at everything each time."""

    def __init__(self) -> None:
        self.spots: dict[tuple[str, SeriesKey], Spot] = {}
        self.devices: dict[str, Device] = {}
        self.armed: set[str] = set()
        self.heard: dict[str, int] = {}
        self.gone: set[str] = set()
        self.returned: dict[str, int] = {}
        self.floor = 0
        self.said: dict[str, bool] = {}
        self.out: list[Decision] = []

    def region(self, region: Region, rules: RuleSet, now: int, offset: int) -> None:
        self.fire(now, offset)
        old, self.spots = self.spots, {}
        self.devices = dict(region.devices)
        for device in region.devices.values():
            for rule in rules.for_device(device):
                key = SeriesKey(device.site, device.id, rule.metric)
                spot = old.pop((rule.name, key), None)
                if spot is None:
                    spot = Spot(rule, key, since=now, armed=not rule.metric and device.id in self.armed)
                elif spot.rule.logic != rule.logic:
                    self.interrupt(spot)
                    spot.since = now
                spot.rule = rule
                self.spots[rule.name, key] = spot
        for _, spot in sorted(old.items()):
            if spot.alert:
                self.say(spot, "retired", now, offset, condition="cleared", acked=True, cleared_at=now)
        for name in SITE:
            if name not in region.devices:
                self.armed.discard(name)
                self.gone.discard(name)
                self.said.pop(name, None)
                self.heard.pop(name, None)

    def row(self, key: SeriesKey, value: float, quality: int, now: int, offset: int) -> None:
        if quality & Quality.RETAINED:
            return  # as if it were not in the journal
        self.fire(now, offset)
        device = self.devices.get(key.device)
        if device is None:
            return
        self.armed.add(device.id)
        self.alive(device, now, offset)
        if quality & (Quality.LATE | Quality.OLD | Quality.UNCLAIMED):
            return
        for spot in self.at(key):
            spot.value = value
            if spot.rule.criterion.silence:
                spot.armed, spot.seen = True, now
                self.calm(spot, now, offset)
            else:
                self.judge(spot, value, now, offset)

    def alive(self, device: Device, now: int, offset: int) -> None:
        self.heard[device.id] = now
        for name in dict.fromkeys((device.publisher, device.id)):
            if self.said.get(name) is False:
                self.tell(name, True, now, offset)
        if device.publisher in self.gone:
            self.gone.discard(device.publisher)
            self.returned[device.publisher] = now
        for spot in self.at(SeriesKey(device.site, device.id, DEVICE)):
            spot.armed = device.id in self.armed
            self.calm(spot, now, offset)

    def calm(self, spot: Spot, now: int, offset: int) -> None:
        self.move(spot, violates=False, clear=True, value=None, now=now, offset=offset)

    def judge(self, spot: Spot, value: float, now: int, offset: int) -> None:
        match spot.rule.criterion:
            case Limit(limit, clear, 1):
                says = value > limit, value < clear
            case Limit(limit, clear, -1):
                says = value < limit, value > clear
            case Equals(limit):
                says = value == limit, value != limit
            case other:
                raise AssertionError(other)
        self.move(spot, *says, value, now, offset)

    def move(
        self, spot: Spot, violates: bool, clear: bool, value: float | None, now: int, offset: int
    ) -> None:
        if spot.phase in {"normal", "restart"} and violates:
            self.met(spot, value, now, offset)
        elif spot.phase in {"pending", "restart"} and not violates:
            assert spot.alert
            spot.phase, spot.due = "normal", None
            acked = spot.alert.acked or spot.alert.count == 0
            self.say(spot, "withdrawn", now, offset, condition="cleared", cleared_at=now, acked=acked)
        elif spot.phase == "active" and clear and spot.rule.keep:
            spot.phase, spot.due = "clearing", now + spot.rule.keep
        elif spot.phase == "active" and clear:
            self.over(spot, now, offset)
        elif spot.phase == "clearing" and not clear:
            spot.phase, spot.due = "active", None

    def met(self, spot: Spot, value: float | None, now: int, offset: int) -> None:
        if spot.alert is None:
            rule, key = spot.rule, spot.key
            text = "\0".join((rule.name, *key, str(offset)))
            name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
            on = spot.shelf is not None and spot.shelf > now
            spot.alert = Alert(
                name, rule.name, rule.version, *key, rule.severity, "pending", now, value,
                holds=("shelved",) if on else (), shelved_until=spot.shelf if on else None,
            )  # fmt: skip
        changes = {"at": now, "value": value, "raised_at": None, "cleared_at": None, "condition": "pending"}
        spot.alert = replace(
            spot.alert, **changes, rule_version=spot.rule.version, severity=spot.rule.severity
        )
        if spot.rule.delay:
            spot.phase, spot.due = "pending", now + spot.rule.delay
            self.say(spot, "pending", now, offset)
        else:
            self.up(spot, value, now, offset)

    def up(self, spot: Spot, value: float | None, now: int, offset: int) -> None:
        assert spot.alert
        spot.phase, spot.due = "active", None
        count = spot.alert.count + 1
        self.say(
            spot,
            "raised",
            now,
            offset,
            condition="active",
            value=value,
            raised_at=now,
            count=count,
            acked=False,
        )

    def over(self, spot: Spot, now: int, offset: int) -> None:
        spot.phase, spot.due = "normal", None
        self.say(spot, "cleared", now, offset, condition="cleared", cleared_at=now)

    def interrupt(self, spot: Spot) -> None:
        spot.phase = {"pending": "restart", "clearing": "active"}.get(spot.phase, spot.phase)
        spot.due = None

    def heard_from(self, name: str, now: int, offset: int) -> None:
        self.fire(now, offset)
        if name in self.devices:
            self.alive(self.devices[name], now, offset)

    def presence(self, name: str, online: bool, now: int, offset: int) -> None:
        self.fire(now, offset)
        if name in self.devices and online:
            self.alive(self.devices[name], now, offset)
        elif name in self.devices:
            self.gone.add(name)
        if name in self.devices and self.said.get(name) is not online:
            self.tell(name, online, now, offset)

    def tell(self, name: str, online: bool, now: int, offset: int) -> None:
        self.said[name] = online
        change = "online" if online else "offline"
        self.out.append(PresenceChange(change, now, offset, SITE[name], name))

    def gap(self, start: int, end: int, offset: int) -> None:
        self.fire(start, offset)
        self.floor = max(self.floor, end)
        for spot in self.spots.values():
            self.interrupt(spot)
        self.fire(end, offset)

    def act(self, action: Action, now: int, offset: int) -> None:
        self.fire(now, offset)
        spot = next((s for s in self.spots.values() if s.alert and s.alert.id == action.alert), None)
        if spot is None or spot.alert is None:
            why = "there is no such alert, or it is over: cleared and acknowledged"
            self.out.append(
                Transition("refused", now, offset, None, by=action.by, comment=why, action=action.id)
            )
        elif action.name == "ack" and spot.alert.count and not spot.alert.acked:
            self.say(spot, "acked", now, offset, action, acked=True)
        elif action.name == "shelve":
            spot.shelf = now + 5 * S
            self.say(spot, "shelved", now, offset, action, holds=("shelved",), shelved_until=spot.shelf)
        else:
            why = (
                "it is acknowledged already"
                if spot.alert.acked
                else ("it is pending and was not raised yet: there is nothing to acknowledge")
            )
            self.out.append(
                Transition("refused", now, offset, spot.alert, by=action.by, comment=why, action=action.id)
            )

    def fire(self, until: int, offset: int) -> None:
        while True:
            due = sorted(self.deadlines(), key=lambda each: each[0])
            if not due or due[0][0][0] > until:
                return
            (deadline, *_), spot, what = due[0]
            if what == "shelf":
                spot.shelf = None
                if spot.alert and "shelved" in spot.alert.holds:
                    self.say(spot, "unshelved", deadline, offset, holds=(), shelved_until=None)
            elif what == "silence":
                self.move(spot, True, False, None, deadline, offset)
                if spot.key.device == "host" and spot.phase == "active":
                    self.gone.add("host")
            elif spot.phase == "clearing":
                self.over(spot, deadline, offset)
            elif spot.rule.criterion.silence and self.unknown(spot):
                self.interrupt(spot)
            else:
                self.up(spot, spot.value if not spot.rule.criterion.silence else None, deadline, offset)

    def deadlines(self) -> list[tuple[tuple[Any, ...], Spot, str]]:
        found: list[tuple[tuple[Any, ...], Spot, str]] = []
        for spot in self.spots.values():
            names = (spot.rule.name, *spot.key)
            rank = 0 if spot.key.device == "host" else 1
            watching = spot.rule.criterion.silence and spot.armed and not self.unknown(spot)
            if watching and spot.phase not in {"pending", "active"}:
                seen = spot.seen if spot.key.metric else self.heard.get(spot.key.device, 0)
                device = self.devices[spot.key.device]
                back = self.returned.get(device.via, 0)
                at = max(seen, self.floor, spot.since, back) + spot.rule.criterion.silence
                found.append(((at, rank, *names, 0), spot, "silence"))
            if spot.due is not None:
                found.append(((spot.due, 1, *names, 1), spot, "step"))
            if spot.shelf is not None:
                found.append(((spot.shelf, 1, *names, 2), spot, "shelf"))
        return found

    def unknown(self, spot: Spot) -> bool:
        return self.devices[spot.key.device].via in self.gone

    def at(self, key: SeriesKey) -> list[Spot]:
        return sorted((s for s in self.spots.values() if s.key == key), key=lambda spot: spot.rule.name)

    def say(
        self, spot: Spot, kind: Any, now: int, offset: int, action: Action | None = None, **changes: Any
    ) -> None:
        assert spot.alert
        spot.alert = replace(spot.alert, **changes)
        done = Transition(kind, now, offset, spot.alert)
        if action:
            done = replace(done, by=action.by, comment=action.comment, action=action.id)
        self.out.append(done)
        if spot.alert.gone:
            spot.alert = None


VALUES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0])
QUALITIES = st.sampled_from([0] * 8 + [int(Quality.CLOCK), int(Quality.LATE), int(Quality.RETAINED)])
METRICS = st.sampled_from(["temperature_c"] * 3 + ["rx_dbm", "uptime_s"])
STEPS = st.sampled_from([0, 0, 0, 1, 1, 1, 2, 3, 5, 12])
TELE = st.tuples(
    st.sampled_from(["o1", "o1", "o2", "o3", "host", "o9"]),
    st.lists(st.tuples(METRICS, VALUES, QUALITIES), min_size=1, max_size=4),
)
NAMES = st.sampled_from(["host", "host", "o1", "o2"])
OTHERS = st.one_of(
    st.builds(Op, st.just("heard"), STEPS, NAMES),
    st.builds(Op, st.just("presence"), STEPS, st.tuples(NAMES, st.booleans())),
    st.builds(Op, st.just("gap"), STEPS, st.integers(1, 12)),
    st.builds(
        Op, st.just("action"), STEPS, st.tuples(st.sampled_from(["ack", "ack", "shelve"]), st.integers(0, 3))
    ),
    st.builds(Op, st.just("watermark"), STEPS),
    st.builds(Op, st.just("region"), STEPS, st.integers(0, len(REGIONS) - 1)),
)
TELES = st.builds(Op, st.just("tele"), STEPS, TELE)
JOURNALS = st.lists(st.one_of(TELES, TELES, TELES, TELES, OTHERS), max_size=60)


class Player:
    """Plays a journal to an engine, handing rows over in batches of the sizes given."""

    def __init__(self, engine: Engine, table: SeriesTable, sizes: list[int]) -> None:
        self.engine, self.table, self.sizes = engine, table, sizes
        self.waiting: list[tuple[int, float, int, int, int]] = []
        self.out: list[Decision] = []

    def tele(self, device: str, values: list[tuple[str, float, int]], now: int, offset: int) -> None:
        for metric, value, quality in values:
            number = self.table.number(SeriesKey(SITE[device], device, metric))
            self.waiting.append((number, value, quality, now, offset))

    def flush(self) -> None:
        rows, turn = self.waiting, 0
        self.waiting = []
        while rows:
            size = self.sizes[turn % len(self.sizes)]
            self._hand_over(rows[:size])
            rows, turn = rows[size:], turn + 1

    def _hand_over(self, rows: list[tuple[int, float, int, int, int]]) -> None:
        series, value, quality, now, offset = zip(*rows, strict=True)
        times = np.array(now, np.int64)
        columns = (np.array(series, np.int32), times, np.array(value), np.array(quality, np.uint8), times)
        self.engine.rows(Readings(*columns), np.array(offset, np.int64))

    def drain(self) -> None:
        self.flush()
        for decision in self.engine.drain():
            assert decision.reason  # what it is called, and what it rests on, is held against other tests
            self.out.append(replace(decision, reason="", evidence={}))


def model_of(journal: list[Op]) -> list[Decision]:
    model, now = Model(), T0
    model.region(REGIONS[0], SETS[0], now, 0)
    for offset, op in enumerate(journal, 1):
        start, now = now, now + op.step * S + 1
        if op.kind == "tele":
            device, values = op.data
            for metric, value, quality in values:
                model.row(SeriesKey(SITE[device], device, metric), value, quality, now, offset)
        elif op.kind == "heard":
            model.heard_from(op.data, now, offset)
        elif op.kind == "presence":
            model.presence(op.data[0], op.data[1], now, offset)
        elif op.kind == "gap":
            now += op.data * S
            model.gap(start, now, offset)
        elif op.kind == "action":
            model.act(action(op, offset, [s.alert.id for s in model.spots.values() if s.alert]), now, offset)
        elif op.kind == "region":
            model.region(REGIONS[op.data], SETS[op.data], now, offset)
        else:
            model.fire(now, offset)
    return model.out


def action(op: Op, offset: int, ids: list[str]) -> Action:
    name, pick = op.data
    ids = sorted(ids)
    args = {"seconds": 5} if name == "shelve" else None
    return Action(f"x{offset}", name, ids[pick % len(ids)] if ids else "none", "budi", "", args)


def saved(engine: Engine) -> bytes:
    """The engine's state as it would lie on the disk."""
    part = engine.save()
    return pack("alarms", part.head, part.columns)


def engine_of(journal: list[Op], sizes: list[int], restarts: set[int]) -> list[Decision]:
    table = SeriesTable()
    player = Player(Engine(table), table, sizes)
    player.engine.region(REGIONS[0], SETS[0], T0, 0)
    now, held = T0, 0
    for offset, op in enumerate(journal, 1):
        start, now = now, now + op.step * S + 1
        engine = player.engine
        if op.kind == "tele":
            player.tele(*op.data, now, offset)
        else:
            player.flush()
        if op.kind == "heard":
            engine.heard(SeriesKey(SITE[op.data], op.data, DEVICE), now, offset)
        elif op.kind == "presence":
            engine.state(SITE[op.data[0]], op.data[0], op.data[1], now, offset)
        elif op.kind == "gap":
            now += op.data * S
            engine.gap(start, now, offset)
        elif op.kind == "action":
            engine.action(action(op, offset, list(engine.alerts)), now, offset)
        elif op.kind == "region":
            held = op.data
            engine.region(REGIONS[held], SETS[held], now, offset)
        elif op.kind == "watermark":
            engine.advance(now, offset)
        if offset in restarts:
            player.drain()
            data = saved(player.engine)
            table = SeriesTable()
            table.number(SeriesKey("elsewhere", "first", "x"))  # numbers differ from process to process
            part = Part(*unpack("alarms", data))
            player.engine, player.table = Engine.load(table, REGIONS[held], SETS[held], part), table
            assert saved(player.engine) == data
    player.drain()
    return player.out


@settings(max_examples=200, deadline=None)
@given(JOURNALS, st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_any_batching_gives_what_looking_at_one_row_at_a_time_gives(
    journal: list[Op], sizes: list[int]
) -> None:
    wanted = model_of(journal)
    assert engine_of(journal, [1_000], set()) == wanted
    assert engine_of(journal, sizes, set()) == wanted


@settings(max_examples=100, deadline=None)
@given(JOURNALS, st.sets(st.integers(1, 60), max_size=4))
def test_a_restored_engine_goes_on_as_if_it_had_never_stopped(journal: list[Op], restarts: set[int]) -> None:
    assert engine_of(journal, [3], restarts) == engine_of(journal, [1_000], set())


@settings(max_examples=50, deadline=None)
@given(JOURNALS, st.sampled_from([1, S // 10, S, 3600 * S]))
def test_how_far_a_look_ahead_reaches_makes_no_difference(journal: list[Op], span: int) -> None:
    wanted = engine_of(journal, [3], set())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(life, "SPAN", span)
        assert engine_of(journal, [5], set()) == wanted


@pytest.mark.parametrize("seed", range(3))
def test_a_long_journal_in_large_batches_gives_the_same(seed: int) -> None:
    random = np.random.default_rng(seed)
    journal = []
    for _ in range(1_500):
        values = [("temperature_c", float(random.integers(-2, 9)) / 2, 0), ("rx_dbm", -20.0, 0)]
        device = str(random.choice(["o1", "o2", "o3", "host", "o9"]))
        step = int(random.choice([0, 0, 0, 1, 2]))
        journal.append(Op("tele", step, (device, values[: random.integers(1, 3)])))
    wanted = model_of(journal)
    assert {decision.change for decision in wanted} >= {"pending", "raised", "cleared", "withdrawn"}
    assert engine_of(journal, [100_000], set()) == wanted
