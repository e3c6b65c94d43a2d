"""The collector's figures for Prometheus, made anew at each scrape from the accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from collector.storage.holding import Holding

FATES = ("stored", "duplicate", "quarantined", "dropped")
COUNTERS = {
    "values": "New values stored",
    "conflicts": "Values that differed from the one journaled first",
    "qos0": "Messages that came with QoS 0, without promise",
    "values_left_out": "Values of unclaimed metrics for which there was no room",
    "unknown_records": "Journal records of kinds that a newer version wrote, passed over",
    "transitions": "Alert transitions committed since the start",
    "gaps": "Times we could not listen",
    "connects": "Connections made to the broker",
    "fsyncs": "Group commits of the journal",
    "notes_sent": "Notifications delivered since the start",
    "notes_lost": "Notifications given up, or gone from the outbox unsent, since the start",
    "segments_dropped": "Journal segments dropped at the size cap before they were stored",
}
GAUGES = {
    "in_flight": ("messages", "Messages journaled and not yet stored"),
    "unclaimed": ("series", "Series that no inventory knows"),
    "series": ("", "Series known"),
    "alerts_active": ("", "Alerts whose condition is active"),
    "wrong_clocks": ("devices", "Devices whose clock is found wrong"),
    "store_lag_s": ("", "Seconds of journal not stored yet"),
    "alarm_lag_s": ("", "Seconds of journal alarming has not seen yet"),
    "journal_bytes": ("", "Bytes of the journal on disk"),
    "notes_waiting": ("", "Notifications that failed and are tried again"),
    "stream_clients": ("", "Clients of the live stream"),
}


@dataclass(frozen=True, slots=True)
class Health:
    """`ready`: subscribed and able to journal. `parts`: mqtt, journal, store …: "ok" or why not."""

    ready: bool
    parts: Mapping[str, str] = field(default_factory=dict)


def exposition(
    stats: Mapping[str, int | float],
    health: Health,
    storage: Holding,
    backup_age: float | None = None,
    restarts: Mapping[str, int] | None = None,
) -> bytes:
    """The text of a scrape. Labels hold fates and part names, never device ids."""
    registry = CollectorRegistry()
    registry.register(_Once(stats, health, backup_age, restarts or {}))
    registry.register(_StorageFamilies(storage))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry)


class _StorageFamilies:
    """What is on disk, by share."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding

    def collect(self) -> Iterator[Metric]:
        holding = self._holding
        sizes = GaugeMetricFamily("nagari_storage_bytes", "Bytes on disk by share", labels=["share"])
        for share in holding.shares:
            sizes.add_metric([share.share], share.bytes)
        yield sizes
        gone = CounterMetricFamily("nagari_storage_shed_bytes", "Bytes deleted", labels=["tier", "why"])
        for shed in holding.shed:
            gone.add_metric([shed.tier, shed.why], shed.bytes)
        yield gone
        figures = {
            "nagari_storage_capacity_bytes": ("Bytes there are, by the storage contract", holding.capacity),
            "nagari_storage_held_bytes": ("Bytes on disk, and those the journal may yet take", holding.held),
            "nagari_storage_days_left": ("Days until room must be made before its time", holding.days_left),
            "nagari_storage_over_rate_devices": (
                "Devices that send more than their kind's plan",
                holding.over,
            ),
        }
        for name, (text, value) in figures.items():
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)


class _Once:
    """The families of one scrape."""

    def __init__(
        self,
        stats: Mapping[str, int | float],
        health: Health,
        backup_age: float | None,
        restarts: Mapping[str, int],
    ) -> None:
        self._backup_age = backup_age
        self._restarts = restarts
        self._stats = stats
        self._health = health

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        yield CounterMetricFamily(
            "nagari_messages_received", "Messages ever journaled", value=stats["received"]
        )
        fates = CounterMetricFamily("nagari_messages", "Messages by fate", labels=["fate"])
        for fate in FATES:
            fates.add_metric([fate], stats[fate])
        yield fates
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(f"nagari_{name}", text, value=stats[name])
        for name, (unit, text) in GAUGES.items():
            full = f"nagari_{name.removesuffix('_s')}{'_seconds' if name.endswith('_s') else ''}"
            yield GaugeMetricFamily(f"{full}_{unit}" if unit else full, text, value=stats[name])
        if self._backup_age is not None:
            text = "Seconds since the last good backup was begun"
            yield GaugeMetricFamily("nagari_backup_age_seconds", text, value=self._backup_age)
        up = GaugeMetricFamily("nagari_part_ok", "1 while the part says ok", labels=["part"])
        for part, said in self._health.parts.items():
            up.add_metric([part], float(said == "ok"))
        yield up
        again = CounterMetricFamily(
            "nagari_worker_restarts", "Times a worker was started again after a fault", labels=["worker"]
        )
        for worker, times in self._restarts.items():
            again.add_metric([worker], times)
        yield again
        yield GaugeMetricFamily(
            "nagari_ready", "1 while subscribed and able to journal", value=self._health.ready
        )
