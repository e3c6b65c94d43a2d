"""CPU of the alarm engine a row: 20 rules, 2,500 series of 500 routers.

Live: 250,000 values a second, one in 10,000 beyond a limit. Catching up: the same at 1,000 values a second of
the journal's time. Storm: live, with one value in 20 beyond a limit.

Run it with `python tests/bench/bench_engine.py`; `--json` for machines.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from collector.alarms.engine import Engine
from collector.alarms.rules import parse_rules
from collector.core.readings import I64, Readings, SeriesKey, SeriesTable
from devices.model import Device, Site
from devices.region import Region

DEVICES = 500
METRICS = ("latency_ms", "loss_pct", "jitter_ms", "cpu_pct", "rx_bps")
NORMAL = np.array([20.0, 0.0, 3.0, 20.0, 1e6])
ROWS = 1_000_000
NS = 1_000_000_000
START = 1_764_000_000 * NS
CASES = (("live", 250_000, 1e-4), ("catching up", 1_000, 1e-4), ("storm", 250_000, 0.05))


def rules() -> str:
    """Four rules on each metric; one silence among them."""
    text = []
    for metric in METRICS:
        high = 1e9 if metric == "rx_bps" else 50
        whens = [
            f'above = {high}, clear_below = {high * 0.8}, for = "10s", keep = "10s"',
            f'above = {high * 1.5}, for = "5s"',
            'absent = "5m"' if metric == "latency_ms" else "equals = 77",
            f"above = {high * 1.9}",
        ]
        text += [_rule(f"{metric.replace('_', '-')}-{n}", metric, when) for n, when in enumerate(whens)]
    return "\n".join(text)


def _rule(name: str, metric: str, when: str) -> str:
    select = 'kind = "router"' if "absent" in when else f'kind = "router", metric = "{metric}"'
    summary = '{ id = "{value}", en = "{value}" }'
    head = f'[[rule]]\nname = "{name}"\nselect = {{ {select} }}\nwhen = {{ {when} }}'
    return f'{head}\nseverity = "minor"\nsummary = {summary}\n'


def region() -> Region:
    """One site, 500 routers."""
    sites = {"s": Site("s", "S", "nagari")}
    devices = {f"r{n}": Device("s", f"r{n}", "router") for n in range(DEVICES)}
    files = {"rules/r.toml": rules().encode()}
    return Region("r", "Asia/Jakarta", ("id",), (), "s", sites, devices, {}, {}, b"", files, {}, {}, "h", {})


def rows(table: SeriesTable, rate: int, beyond: float) -> tuple[Readings, I64]:
    """A stretch of messages of five values each, at `rate` values a second."""
    random = np.random.default_rng(7)
    of = [[table.number(SeriesKey("s", f"r{n}", metric)) for metric in METRICS] for n in range(DEVICES)]
    device = random.integers(DEVICES, size=ROWS // 5)
    value = np.abs(NORMAL * (1 + random.normal(0, 0.1, (len(device), 5)))).ravel()
    value[random.random(ROWS) < beyond] *= 4
    stamps = np.repeat(START + np.arange(len(device), dtype=np.int64) * (5 * NS // rate), 5)
    series = np.array(of, np.int32)[device].ravel()
    offsets = np.repeat(np.arange(len(device), dtype=np.int64), 5)
    return Readings(series, stamps, value, np.zeros(ROWS, np.uint8), stamps), offsets


def one(size: int, rate: int, beyond: float) -> tuple[float, int]:
    """Microseconds of CPU a row, and how many transitions there were."""
    table, world = SeriesTable(), region()
    engine = Engine(table)
    engine.region(world, parse_rules(world.rules, world), 1, 0)
    readings, offsets = rows(table, rate, beyond)
    places = [np.arange(at, min(at + size, ROWS)) for at in range(0, ROWS, size)]
    batches = [(readings.take(place), offsets[place]) for place in places]
    begin = time.process_time()
    for batch, at in batches:
        engine.rows(batch, at)
    return (time.process_time() - begin) / ROWS * 1e6, len(engine.drain())


def run() -> dict[str, object]:
    """The figures: microseconds of CPU a row at batches of 5,000."""
    figures: dict[str, object] = {}
    for name, rate, beyond in CASES:
        for size in (200, 5_000, 50_000):
            found = [one(size, rate, beyond) for _ in range(3)]
            us = round(median(each[0] for each in found), 3)
            print(f"  {name:12} batch {size:>6}: {us:.3f} us/row, {found[0][1]} transitions", flush=True)
            if size == 5_000:
                figures[f"engine.{name.replace(' ', '_')}_us_per_row"] = us
    return figures


if __name__ == "__main__":
    print(run())
