"""The course: the same records give the same decisions, however they are cut and from wherever it goes on."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.decision import CommandAnswer, Decision, DeviceEvent, Gap
from collector.core.readings import SeriesTable
from collector.core.records import Action, Batch, Flag, RecordKind
from collector.course.course import REPORTS_A_MINUTE, Course, Version
from collector.followers.versions import with_rules
from collector.ingest.decode import Decoder
from simulators.regions import write_region

S = 10**9
NOW = 1_764_000_000 * S
RULES = """
[[rule]]
name = "slow"
select = {{ kind = "router", metric = "latency_ms" }}
when = {{ above = {limit} }}
severity = "warning"
summary = {{ id = "{{value}}", en = "{{value}}" }}

[[rule]]
name = "loss"
select = {{ kind = "router", metric = "loss_pct" }}
when = {{ above = 5.0, for = "7s", keep = "9s" }}
severity = "major"
summary = {{ id = "{{value}}", en = "{{value}}" }}

[[rule]]
name = "silent"
select = {{ kind = "router" }}
when = {{ absent = "40s" }}
severity = "major"
summary = {{ id = "{{limit}}", en = "{{limit}}" }}
"""
Record = tuple[int, int, str, bytes, int]
"""Kind, flags, topic, payload, stamp."""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Version]:
    """Three versions: the limits of the second are lower, the third knows an old id and one site less."""
    made = []
    for sites, limit in ((3, 300.0), (3, 100.0), (2, 300.0)):
        rules = {"rules/r.toml": RULES.format(limit=limit).encode()}
        region = write_region(tmp_path_factory.mktemp("region"), sites, ("router", "ont"), rules=rules)
        made.append(region)
    made[2] = replace(made[2], aliases={"old-id": "load-000000"})
    return [with_rules(region) for region in made]


def batches(records: list[Record], cuts: set[int]) -> list[Batch]:
    """The records in batches, cut before those indices. Offsets are 10 apart."""
    edges = sorted({0, len(records), *(cut for cut in cuts if 0 < cut < len(records))})
    made = []
    for a, b in itertools.pairwise(edges):
        kinds, flags, topics, payloads, stamps = map(list, zip(*records[a:b], strict=True))
        where = 10 * np.arange(a, b, dtype=np.int64)
        stamped = np.array(stamps, np.int64)
        made.append(Batch(10 * a, 10 * b, kinds, flags, topics, payloads, stamped, where, b))  # type: ignore[arg-type]
    return made


class Run:
    """A course over records."""

    def __init__(self, versions: list[Version]) -> None:
        self.known = {version[0].hash: version for version in versions}
        self.start = versions[0]
        self.course = self.fresh()

    def fresh(self) -> Course:
        table = SeriesTable()
        return Course(table, self.decoder(table), self.known.__getitem__, self.start)

    def decoder(self, table: SeriesTable) -> Decoder:
        return Decoder(table, lambda content: self.known[content][0])

    def through(
        self, records: list[Record], cuts: set[int] = frozenset(), lives: set[int] = frozenset()
    ) -> list[Decision]:  # type: ignore[assignment]
        """All decisions. At the batches numbered in `lives` it is saved, and goes on in another process."""
        out = []
        for number, batch in enumerate(batches(records, cuts)):
            out += self.course.take(batch)
            if number in lives:
                table = SeriesTable()
                self.course = Course.load(
                    table, self.decoder(table), self.known.__getitem__, self.course.save()
                )
        return out


def message(at: int, topic: str, body: object, flags: int = 0) -> Record:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (int(RecordKind.MESSAGE), flags, topic, payload, at)


def control(at: int, kind: int, **body: object) -> Record:
    return (int(kind), 0, "", json.dumps(body).encode(), at)


def story(seed: int, length: int, versions: list[Version]) -> list[Record]:
    """Readings good, bad, late, doubled, of wrong clocks and old ids; gaps, silence, people, versions."""
    rng, now, told = random.Random(seed), NOW, list[Record]()
    for _ in range(length):
        now += rng.choice([S // 10, S, S, 3 * S, 3 * S, 10 * S, 45 * S])
        site = rng.choice(["load-000000", "load-000000", "load-000001", "load-000002", "old-id"])
        device = f"router-{site.removeprefix('load-').replace('old-id', '000000')}-0"
        at = f"nagari/v1/{site}/{device}/"
        values = {"latency_ms": rng.choice([10, 200, 400]), "loss_pct": rng.choice([0, 0, 9])}
        match rng.randrange(20):
            case 0:
                told.append(
                    message(now, at + "state", rng.choice([b"online", b"offline"]), rng.choice([0, 1]))
                )
            case 1:
                told.append(message(now, at + "event", {"event": "dying_gasp", "ts": rng.randrange(3)}))
            case 2:
                told.append(message(now, at + "ack", {"id": "c1", "status": "done", "ts": rng.randrange(3)}))
            case 3 if told:
                earlier = rng.choice(told)
                if earlier[0] == RecordKind.MESSAGE:
                    told.append((*earlier[:4], now))
            case 4:
                told.append(control(now, RecordKind.WATERMARK))
            case 5:
                told.append(control(now, RecordKind.GAP, **{"from": now - 2 * S, "why": "a test"}))
            case 6:
                told.append(control(now, RecordKind.HEALTH, disk_full=rng.random() < 0.5))
            case 7:
                told.append(
                    control(now, RecordKind.ACTION, **asdict(Action(f"a{now}", "ack", "no-such", "budi")))
                )
            case 8:
                told.append(control(now, RecordKind.REGION, hash=rng.choice(versions)[0].hash))
            case 9:
                told.append(control(now, 99, anything=1))
            case 10:
                told.append(message(now, at + "tele", {"ts": (now - 90 * S) // 10**6, "values": values}))
            case 11:
                told.append(message(now, at + "tele", {"ts": rng.choice([5, 2**33]), "values": values}))
            case 12:
                told.append(message(now, at + "tele", rng.choice([b"x", b'{"values":{"latency_ms":null}}'])))
            case _:
                told.append(message(now, at + "tele", {"ts": now // 10**6, "values": values}))
    return told


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    length=st.integers(1, 120),
    cuts=st.sets(st.integers(1, 119)),
    lives=st.sets(st.integers(0, 60)),
)
def test_cut_anyhow_and_resumed_anywhere_it_decides_alike(
    versions: list[Version], seed: int, length: int, cuts: set[int], lives: set[int]
) -> None:
    records = story(seed, length, versions)
    whole = Run(versions).through(records)
    assert Run(versions).through(records, cuts, lives) == whole
    one_by_one = Run(versions).through(records, set(range(length)))
    assert one_by_one == whole


def test_the_story_has_something_of_everything(versions: list[Version]) -> None:
    decided = Run(versions).through(story(3, 600, versions))
    assert {"raised", "cleared", "pending", "refused", "retired"} <= {
        d.change for d in decided if d.kind == "alert"
    }
    assert {d.kind for d in decided} >= {"alert", "gap", "event", "answer"}
    assert [d.offset for d in decided] == sorted(d.offset for d in decided)


ROUTER = "nagari/v1/load-000000/router-000000-0/"


def reading(at: int, latency: float) -> Record:
    return message(at, ROUTER + "tele", {"ts": at // 10**6, "values": {"latency_ms": latency}})


def test_a_new_version_judges_what_comes_after_it_and_not_before(versions: list[Version]) -> None:
    records = [
        reading(NOW, 200),
        control(NOW + S, RecordKind.REGION, hash=versions[1][0].hash),
        reading(NOW + 2 * S, 200),
    ]
    [raised] = Run(versions).through(records)
    assert (raised.change, raised.at) == ("raised", NOW + 2 * S)


def test_a_gap_told_piece_by_piece_is_one_when_it_is_over(versions: list[Version]) -> None:
    pieces = [
        control(NOW + n * S, RecordKind.GAP, **{"from": NOW + (n - 1) * S, "why": "no connection"})
        for n in range(1, 60)
    ]
    health = control(NOW + 59 * S + 1, RecordKind.HEALTH, disk_full=False)
    run = Run(versions)
    assert run.through([*pieces, health]) == []
    [gap] = run.course.take(batches([*pieces, health, reading(NOW + 60 * S, 1)], {60})[-1])
    assert gap == Gap("gap", NOW + 59 * S, 600, NOW, reason="no connection")


def test_an_event_and_an_answer_keep_what_they_say(versions: list[Version]) -> None:
    records = [
        message(NOW, ROUTER + "event", {"event": "dying_gasp", "ts": 7, "data": {"volt": 3}}),
        message(NOW + S, ROUTER + "ack", {"id": "c1", "status": "failed", "detail": "no such port"}),
    ]
    where = "load-000000", "router-000000-0"
    assert Run(versions).through(records) == [
        DeviceEvent("dying_gasp", NOW, 0, *where, 7, {"volt": 3}, reason="reported"),
        CommandAnswer("failed", NOW + S, 10, *where, "c1", "no such port", None, reason="reported"),
    ]


@pytest.mark.parametrize(
    ("topic", "flags"),
    [
        ("nagari/v1/load-000000/stranger/event", 0),
        ("nagari/v1/load-000001/router-000000-0/event", 0),
        (ROUTER + "event", int(Flag.RETAIN)),
    ],
)
def test_what_a_stranger_or_the_brokers_memory_reports_is_not_written_down(
    versions: list[Version], topic: str, flags: int
) -> None:
    assert Run(versions).through([message(NOW, topic, {"event": "dying_gasp"}, flags)]) == []


def test_a_device_that_reports_without_end_is_written_down_so_often_a_minute(versions: list[Version]) -> None:
    records = [
        message(NOW + n, ROUTER + "event", {"event": "dying_gasp", "data": {"n": n}}) for n in range(100)
    ]
    later = message(NOW + 61 * S, ROUTER + "event", {"event": "dying_gasp"})
    other = message(NOW + 200, "nagari/v1/load-000001/router-000001-0/event", {"event": "dying_gasp"})
    decided = Run(versions).through([*records, other, later])
    assert len(decided) == REPORTS_A_MINUTE + 2


def test_a_huge_event_is_written_down_by_its_size(versions: list[Version]) -> None:
    huge = message(NOW, ROUTER + "event", {"event": "dying_gasp", "data": {"log": "x" * 100_000}})
    [event] = Run(versions).through([huge])
    assert isinstance(event, DeviceEvent)
    assert event.data["characters_left_out"] > 100_000


def test_records_of_a_newer_version_stop_nothing_and_are_told_once(
    versions: list[Version], caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(versions)
    [raised] = run.through([control(NOW, 42, a=1), control(NOW + 1, 42), reading(NOW + S, 400)])
    assert raised.change == "raised"
    assert run.course.unknown == {42: 2}
    assert caplog.text.count("kind 42") == 1


def test_a_saved_course_holds_no_numbers_of_its_process(versions: list[Version], tmp_path: Path) -> None:
    run = Run(versions)
    run.through([reading(NOW, 400)])
    table = SeriesTable()
    table.numbers([("elsewhere", "x")], ["a", "b"], np.zeros(2, np.int32), np.array([0, 1], np.int32))
    again = Course.load(table, run.decoder(table), run.known.__getitem__, run.course.save())
    records = [reading(NOW, 400), reading(NOW + S, 10)]
    [cleared] = again.take(batches(records, {1})[1])
    assert cleared.change == "cleared"


@pytest.mark.parametrize(
    "topic",
    ["nagari/v1/load-000001/router-000000-0/state", "nagari/v1/load-000000/stranger/state"],
    ids=["of its old site", "of a stranger"],
)
def test_a_will_that_is_not_of_the_inventory_marks_nobody_offline(
    versions: list[Version], topic: str
) -> None:
    run = Run(versions)
    records = [
        message(NOW, ROUTER + "state", b"online", int(Flag.RETAIN)),
        message(NOW + 1, topic, b"offline", int(Flag.RETAIN)),
    ]
    [online] = run.through(records)
    assert (online.change, online.subject) == ("online", "load-000000/router-000000-0")
    assert run.course.presence == {"router-000000-0": "online"}


def test_tele_after_offline_means_online_and_the_course_says_why(versions: list[Version]) -> None:
    run = Run(versions)
    decided = run.through([message(NOW, ROUTER + "state", b"offline"), reading(NOW + S, 10)])
    assert [(d.change, d.reason) for d in decided] == [("offline", "state"), ("online", "heard")]
    assert run.course.presence == {"router-000000-0": "online"}


def test_a_transition_names_its_reason_and_what_it_rests_on(versions: list[Version]) -> None:
    [raised, cleared] = Run(versions).through([reading(NOW, 400), reading(NOW + S, 10)])
    assert (raised.reason, raised.evidence["above"], raised.evidence["value"]) == (
        "above_limit",
        300.0,
        400.0,
    )
    assert (cleared.reason, cleared.evidence["value"]) == ("clear", 10.0)
