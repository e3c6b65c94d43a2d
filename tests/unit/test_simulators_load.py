"""What load makes up: regions that load, packets that any MQTT 5 reader reads, values that rules leave be."""

from __future__ import annotations

import shutil
from pathlib import Path

import mqtt5
import numpy as np
import pytest

from collector.alarms.kinds.criterion import Judgement
from collector.alarms.rules import parse_rules
from devices.catalogue import COLLECTOR, KINDS
from devices.payload.native import parse_tele_checked
from devices.problems import Problems
from devices.region import load, read_folder
from devices.topics import parse
from simulators.figures import FIGURES, MOST_VALUES
from simulators.frames import Frames, Source
from simulators.load import routers, sources
from simulators.regions import write_region

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "padang-pariaman"
DEVICES = [
    Source("s1", "r1"),
    Source("a-longer-site", "p2", "power"),
    Source("s3", "a-much-longer-device-id", "river"),
]
EVERY_KIND = [Source("s1", f"d-{kind}", kind) for kind in FIGURES]


def packets(data: bytes) -> list[mqtt5.PublishPacket]:
    found = []
    at = 0
    while at < len(data):
        packet, size = mqtt5.read(memoryview(data)[at:])
        assert isinstance(packet, mqtt5.PublishPacket)
        found.append(packet)
        at += size
    return found


def test_each_packet_is_a_reading_of_its_device() -> None:
    frames = Frames(DEVICES, 5, 0.0, 0)
    ids = np.array([1, 256, 65535])
    found = packets(frames.write(0, 3, ids, 1764000000123, 2**32 - 1))
    assert [packet.packet_id for packet in found] == [1, 256, 65535]
    for source, packet in zip(DEVICES, found, strict=True):
        address = parse(packet.topic)
        assert (address.site, address.device) == (source.site, source.device)
        assert packet.qos == mqtt5.QoS.AT_LEAST_ONCE
        assert not packet.retain
        (tele,) = parse_tele_checked(packet.payload, address)
        wanted = [figure.name for figure in FIGURES[source.kind][:5]]
        assert (tele["ts"], tele["seq"], list(tele["values"])) == (1764000000123, 2**32 - 1, wanted)


def test_a_part_of_a_round_touches_its_devices_only() -> None:
    frames = Frames(DEVICES, 1, 0.0, 0)
    (found,) = packets(frames.write(1, 1, np.array([7]), 5, 0))
    assert parse(found.topic).device == "p2"
    (tele,) = parse_tele_checked(found.payload)
    assert (tele["ts"], tele["seq"], list(tele["values"])) == (5, 0, ["mains_v"])


def test_the_catalogue_has_what_is_sent_and_nothing_of_the_field_is_left_out() -> None:
    for name, figures in FIGURES.items():
        assert {figure.name for figure in figures} <= KINDS[name].metrics.keys()
    assert FIGURES.keys() == KINDS.keys() - {COLLECTOR}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_values_are_of_the_catalogue_and_beyond_the_shipped_limits_only_when_they_shall(
    tmp_path: Path, share: float
) -> None:
    shipped = load(read_folder(SHIPPED)).rules
    region = write_region(tmp_path, 1, tuple(FIGURES), shipped)
    held = parse_rules(shipped, region)
    rules = {device.kind: held.for_device(device) for device in region.devices.values()}
    frames = Frames(EVERY_KIND * 100, MOST_VALUES, share, 1)
    number = len(EVERY_KIND) * 100
    for packet in packets(frames.write(0, number, np.arange(1, number + 1), 5, 0)):
        kind = parse(packet.topic).device.removeprefix("d-")
        (tele,) = parse_tele_checked(packet.payload)
        said = set()
        for name, value in tele["values"].items():
            metric = KINDS[kind].metrics[name]
            assert value is not None
            assert isinstance(value, bool) == metric.boolean
            assert metric.low is None or value >= metric.low
            assert metric.high is None or value <= metric.high
            limits = [rule for rule in rules[kind] if rule.metric == name and not rule.criterion.silence]
            said |= {rule.criterion.judge(float(value)) for rule in limits}
        assert (Judgement.VIOLATES in said) == bool(share)
        assert share or said <= {Judgement.CLEAR}


def test_the_first_value_alone_can_alarm() -> None:
    for figures in FIGURES.values():
        assert figures[0].bad


def test_the_same_seed_gives_the_same_load() -> None:
    first, again, other = (
        Frames(DEVICES, 5, 0.5, seed).write(0, 3, np.arange(1, 4), 5, 0) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_region_made_up_loads_and_has_what_was_asked(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "region"
    region = write_region(folder, 7, ("router", "router", "ont"), {"rules/a.toml": b"x = 1\n"})
    assert load(read_folder(folder)).hash == region.hash
    assert len(region.sites) == 8
    assert len(routers(region)) == 14
    assert [source.kind for source in sources(region)[:3]] == ["router", "router", "ont"]
    assert region.rules == {"rules/a.toml": b"x = 1\n"}


def test_a_region_made_up_is_written_over_with_its_rules(tmp_path: Path) -> None:
    write_region(tmp_path, 7, rules={"rules/a.toml": b"x = 1\n"})
    assert write_region(tmp_path, 2, rules={"rules/b.toml": b"x = 2\n"}).rules == {"rules/b.toml": b"x = 2\n"}
    assert len(load(read_folder(tmp_path)).devices) == 2


def test_a_region_that_somebody_else_wrote_is_not_written_over(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "region")
    with pytest.raises(Problems, match="holds a region that was not made up for load tests"):
        write_region(tmp_path / "region", 1)
    assert read_folder(tmp_path / "region") == read_folder(SHIPPED)


def test_half_a_region_is_somebody_elses_too(tmp_path: Path) -> None:
    (tmp_path / "sites.csv").write_text("id,name,kind\n")
    with pytest.raises(Problems, match="holds a region that was not made up for load tests"):
        write_region(tmp_path, 1)
