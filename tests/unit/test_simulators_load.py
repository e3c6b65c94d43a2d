"""What load makes up: regions that load, packets that any MQTT 5 reader reads."""

from __future__ import annotations

from pathlib import Path

import mqtt5
import numpy as np
import pytest

from devices.catalogue import KINDS
from devices.payload.native import parse_tele_checked
from devices.problems import Problems
from devices.region import load, read_folder
from devices.topics import parse
from simulators.frames import METRICS, Frames
from simulators.load import routers
from simulators.regions import write_region

DEVICES = [("s1", "r1"), ("a-longer-site", "r2"), ("s3", "a-much-longer-device-id")]


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
    for (site, device), packet in zip(DEVICES, found, strict=True):
        address = parse(packet.topic)
        assert (address.site, address.device) == (site, device)
        assert packet.qos == mqtt5.QoS.AT_LEAST_ONCE
        assert not packet.retain
        (tele,) = parse_tele_checked(packet.payload, address)
        assert (tele["ts"], tele["seq"], len(tele["values"])) == (1764000000123, 2**32 - 1, 5)


def test_a_part_of_a_round_touches_its_devices_only() -> None:
    frames = Frames(DEVICES, 1, 0.0, 0)
    (found,) = packets(frames.write(1, 1, np.array([7]), 5, 0))
    assert parse(found.topic).device == "r2"
    (tele,) = parse_tele_checked(found.payload)
    assert (tele["ts"], tele["seq"], list(tele["values"])) == (5, 0, ["latency_ms"])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_values_are_of_the_catalogue_and_alarm_only_when_they_shall(share: float) -> None:
    frames = Frames(DEVICES * 100, len(METRICS), share, 1)
    router = KINDS["router"]
    for packet in packets(frames.write(0, 300, np.arange(1, 301), 5, 0)):
        (tele,) = parse_tele_checked(packet.payload)
        values = tele["values"]
        for name, value in values.items():
            metric = router.metrics[name]
            assert value is not None
            assert isinstance(value, bool) == metric.boolean
            assert metric.low is None or value >= metric.low
            assert metric.high is None or value <= metric.high
        loss = values["loss_pct"]
        assert loss is not None
        assert (loss > 5) == bool(share)


def test_the_same_seed_gives_the_same_load() -> None:
    first, again, other = (
        Frames(DEVICES, 5, 0.5, seed).write(0, 3, np.arange(1, 4), 5, 0) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_region_made_up_loads_and_has_what_was_asked(tmp_path: Path) -> None:
    region = write_region(
        tmp_path / "new" / "region", 7, routers=2, onts=1, rules={"rules/a.toml": b"x = 1\n"}
    )
    assert load(read_folder(tmp_path / "new" / "region")).hash == region.hash
    assert len(region.sites) == 8
    assert len(routers(region)) == 14
    assert sum(device.kind == "ont" for device in region.devices.values()) == 7
    assert region.rules == {"rules/a.toml": b"x = 1\n"}


def test_a_region_that_does_not_fit_what_is_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "links.geojson").write_bytes(b"{}")
    with pytest.raises(Problems, match=r"links\.geojson: is not a GeoJSON FeatureCollection"):
        write_region(tmp_path, 1)
