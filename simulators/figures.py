"""What load sends of each device kind: its metrics in the order in which a message takes them up, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric's values: `calm` is within the limits of the shipped rules, `bad` beyond them.

    `written` gives every value of either span the same width. Without `written` it is a boolean: false when
    calm, and true when it is bad (if `bad` is given).
    """

    name: str
    written: bytes = b""
    calm: Span = (0.0, 0.0)
    bad: Span | None = None


_BITS: Final = b"%8d"
_PCT: Final = b"%6.2f"

FIGURES: Final[Mapping[str, tuple[Figure, ...]]] = {
    "router": (
        Figure("latency_ms", b"%6.2f", (3.0, 12.0), (400.0, 900.0)),
        Figure("loss_pct", b"%5.2f", (0.0, 0.4), (20.0, 60.0)),
        Figure("jitter_ms", b"%6.2f", (0.1, 2.0), (80.0, 200.0)),
        Figure("rx_bps", _BITS, (1e5, 4e7)),
        Figure("tx_bps", _BITS, (1e5, 1e7)),
        Figure("cpu_pct", _PCT, (2.0, 40.0)),
        Figure("on_lte"),
    ),
    "ont": (
        Figure("rx_dbm", b"%6.2f", (-19.5, -18.5), (-33.0, -29.0)),
        Figure("tx_dbm", b"%5.2f", (2.0, 2.6)),
        Figure("olt_rx_dbm", b"%6.2f", (-21.5, -20.5), (-36.0, -33.0)),
        Figure("distance_m", b"%5d", (4180, 4220)),
        Figure("temperature_c", b"%5.2f", (41.0, 52.0), (72.0, 80.0)),
        Figure("uptime_s", b"%7d", (86_400, 6_000_000)),
        Figure("last_down_cause", b"%1d"),
    ),
    "power": (
        Figure("mains_v", b"%5.1f", (216.0, 226.0), (150.0, 185.0)),
        Figure("on_battery", bad=(1.0, 1.0)),
        Figure("battery_pct", b"%5.1f", (95.0, 100.0), (2.0, 10.0)),
        Figure("battery_v", b"%5.2f", (13.4, 13.8), (10.2, 10.7)),
        Figure("load_w", b"%5.1f", (40.0, 120.0)),
    ),
    "climate": (
        Figure("temperature_c", b"%4.1f", (21.0, 25.0), (46.0, 55.0)),
        Figure("humidity_pct", b"%4.1f", (45.0, 65.0)),
        Figure("door_open"),
        Figure("smoke", bad=(1.0, 1.0)),
        Figure("water_leak"),
    ),
    "host": (
        Figure("cpu_pct", _PCT, (3.0, 40.0), (96.0, 100.0)),
        Figure("mem_pct", _PCT, (30.0, 70.0), (96.0, 99.0)),
        Figure("disk_pct", _PCT, (35.0, 60.0), (96.0, 99.0)),
        Figure("load1", b"%4.2f", (0.05, 1.5)),
        Figure("rx_bps", _BITS, (1e5, 4e7)),
        Figure("tx_bps", _BITS, (1e5, 1e7)),
    ),
    "river": (
        Figure("level_cm", b"%5.1f", (60.0, 120.0), (420.0, 500.0)),
        Figure("rain_mm_h", b"%4.1f", (0.0, 4.0), (25.0, 60.0)),
    ),
    "olt": (
        Figure("cpu_pct", _PCT, (5.0, 35.0), (92.0, 99.0)),
        Figure("temperature_c", b"%4.1f", (28.0, 36.0), (46.0, 55.0)),
        Figure("ports_up", b"%2d", (8, 8), (0, 0)),
        Figure("uptime_s", b"%7d", (86_400, 6_000_000)),
    ),
}
"""The kinds of the catalogue that the field has, the commonest first. Of each the first metric can be bad."""

KINDS: Final = tuple(FIGURES)
MOST_VALUES: Final = max(map(len, FIGURES.values()))
