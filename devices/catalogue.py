"""The device kinds every part may count on, as data: metrics, events, commands, and when silence is too long.

`stale_after_s` is at least three of the kind's usual intervals, so that one lost message raises nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from devices.model import Kind, Metric

CLOCK_WRONG: Final = "clock_wrong"
"""Of every device: 1 while the collector finds its clock wrong. Watched by rules, not sent by devices."""

CLOCK_AHEAD: Final = "clock_ahead_s"
"""Of the collector: how far its stamps lead its machine's clock, after that was set back."""
CLOCK_OFF: Final = "clock_off_s"
"""Of the collector: how far its time is from what it should be: most devices', or its machine's."""

COLLECTOR: Final = "collector"
"""Kind and id of the device that is the collector itself: nobody else speaks for it."""


def _kind(
    name: str,
    stale_after_s: float,
    *metrics: Metric,
    events: tuple[str, ...] = (),
    commands: tuple[str, ...] = (),
) -> Kind:
    known = {metric.name: metric for metric in (*metrics, _flag(CLOCK_WRONG))}
    return Kind(name, known, events, commands, stale_after_s)


def _flag(name: str) -> Metric:
    return Metric(name, "", boolean=True, low=0, high=1, resolution=1)


# An SFP's diagnostics (SFF-8472) span -40 to +8.2 dBm; ITU-T G.988 reports them in steps of 0.002 dB.
_ONT = _kind(
    "ont",
    180.0,
    Metric("rx_dbm", "dBm", low=-40.0, high=8.2, resolution=0.002),
    Metric("tx_dbm", "dBm", low=-40.0, high=8.2, resolution=0.002),
    Metric("olt_rx_dbm", "dBm", low=-40.0, high=8.2, resolution=0.002),
    Metric("distance_m", "m", low=0, high=60_000, resolution=1),  # the logical reach of GPON, G.984.1
    Metric("temperature_c", "°C", low=-128.0, high=128.0, resolution=1 / 256),
    Metric("uptime_s", "s", low=0, resolution=1),
    Metric("last_down_cause", "code", low=0, high=255, resolution=1),  # the vendor's code
    events=("dying_gasp",),
    commands=("reboot",),
)
_OLT = _kind(
    "olt",
    180.0,
    Metric("cpu_pct", "%", low=0, high=100, resolution=1),
    Metric("temperature_c", "°C", low=-128.0, high=128.0, resolution=1),
    Metric("ports_up", "", low=0, high=1024, resolution=1),
    Metric("uptime_s", "s", low=0, resolution=1),
)
_ROUTER = _kind(
    "router",
    60.0,
    Metric("latency_ms", "ms", low=0, resolution=0.001),
    Metric("loss_pct", "%", low=0, high=100),
    Metric("jitter_ms", "ms", low=0, resolution=0.001),
    Metric("rx_bps", "bit/s", low=0, resolution=1),
    Metric("tx_bps", "bit/s", low=0, resolution=1),
    Metric("cpu_pct", "%", low=0, high=100, resolution=1),
    _flag("on_lte"),
    commands=("reboot", "switch_uplink", "cycle_port"),
)
_POWER = _kind(
    "power",
    90.0,
    Metric("mains_v", "V", low=0, high=500, resolution=0.1),
    _flag("on_battery"),
    Metric("battery_pct", "%", low=0, high=100, resolution=1),
    Metric("battery_v", "V", low=0, high=100, resolution=0.01),
    Metric("load_w", "W", low=0, resolution=1),
    commands=("shed_load", "restore_load"),
)
_CLIMATE = _kind(
    "climate",
    180.0,
    Metric("temperature_c", "°C", low=-40.0, high=125.0, resolution=0.1),
    Metric("humidity_pct", "%", low=0, high=100, resolution=0.1),
    _flag("door_open"),
    _flag("smoke"),
    _flag("water_leak"),
    commands=("fan",),
)
_RIVER = _kind(
    "river",
    900.0,  # on batteries: a reading every five minutes
    Metric("level_cm", "cm", resolution=1),  # against the gauge's own zero: may be negative
    Metric("rain_mm_h", "mm/h", low=0, high=500, resolution=0.2),
    commands=("siren",),
)
_HOST = _kind(
    "host",
    60.0,
    Metric("cpu_pct", "%", low=0, high=100, resolution=0.1),
    Metric("mem_pct", "%", low=0, high=100, resolution=0.1),
    Metric("disk_pct", "%", low=0, high=100, resolution=0.1),
    Metric("load1", "", low=0, resolution=0.01),
    Metric("rx_bps", "bit/s", low=0, resolution=1),
    Metric("tx_bps", "bit/s", low=0, resolution=1),
)
_COLLECTOR = _kind(
    COLLECTOR,
    0.0,  # it cannot watch its own silence: whoever watches /readyz does
    _flag("disk_full"),
    _flag("store_down"),
    Metric("store_lag_s", "s", low=0, resolution=0.1),
    _flag("dropping"),
    Metric("session_lost_s", "s", low=0, resolution=0.1),  # the gap left by a session that the broker lost
    _flag("session_taken_over"),
    _flag("journal_damaged"),
    _flag("state_damaged"),
    _flag("unclaimed_full"),
    _flag("notify_stuck"),
    _flag("notify_skipped"),
    _flag("worker_failing"),
    Metric("storage_used_pct", "%", low=0, resolution=0.01),
    Metric("storage_days_left", "d", low=0, resolution=0.1),
    _flag("storage_nearly_full"),
    _flag("storage_shedding"),
    _flag("storage_breach"),
    _flag("storage_failing"),
    Metric("storage_over_rate", "", low=0, resolution=1),  # devices that send more than their kind's plan
    Metric(CLOCK_AHEAD, "s", low=0, resolution=0.001),
    Metric(CLOCK_OFF, "s", low=0, resolution=0.001),
    Metric("backup_late_h", "h", low=0, resolution=0.01),  # 0 while the last good backup is young enough
)

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind for kind in (_ONT, _OLT, _ROUTER, _POWER, _CLIMATE, _RIVER, _HOST, _COLLECTOR)
}
"""Every device kind, by name. `collector` is the collector itself: its state, put into its own journal."""
