"""This machine's own figures, from the kernel by psutil."""

from __future__ import annotations

import time

import psutil


class HostMeter:
    """Reads the metrics of a `host` device. CPU and rates are means since the last reading.

    `rx_bps` and `tx_bps` sum all interfaces but loopback; traffic that a bridge or tunnel hands on is counted
    on each interface that it passes. Blocks for as long as the kernel does: call it in a thread.
    """

    def __init__(self, disk: str = "/") -> None:
        self._disk = disk
        self._cpu = _cpu()
        self._bytes = _bytes()
        self._at = time.monotonic()

    def read(self) -> dict[str, float | bool | None]:
        """The figures now; wait at least some tenths of a second between two readings."""
        received, sent = _bytes()
        now = time.monotonic()
        seconds = max(now - self._at, 1e-3)
        before, self._bytes, self._at = self._bytes, (received, sent), now
        cpu, self._cpu = self._cpu, _cpu()
        return {
            "cpu_pct": _share(self._cpu[0] - cpu[0], self._cpu[1] - cpu[1]),
            "mem_pct": psutil.virtual_memory().percent,
            "disk_pct": psutil.disk_usage(self._disk).percent,
            "load1": round(psutil.getloadavg()[0], 2),
            "rx_bps": _rate(received - before[0], seconds),
            "tx_bps": _rate(sent - before[1], seconds),
        }


def _cpu() -> tuple[float, float]:
    """Seconds of CPU spent busy, and in all. (psutil's percentages are per thread; threads change here.)"""
    times = psutil.cpu_times()._asdict()
    total = sum(spent for name, spent in times.items() if not name.startswith("guest"))  # within user already
    return total - times["idle"] - times.get("iowait", 0.0), total


def _share(busy: float, total: float) -> float | None:
    return round(min(100.0, max(0.0, 100 * busy / total)), 1) if total > 0 else None


def _bytes() -> tuple[int, int]:
    loopback = {
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(each.address in {"127.0.0.1", "::1"} for each in addresses)
    }
    counters = psutil.net_io_counters(pernic=True)
    others = [counter for name, counter in counters.items() if name not in loopback]
    return sum(each.bytes_recv for each in others), sum(each.bytes_sent for each in others)


def _rate(octets: int, seconds: float) -> float | None:
    """Bits per second; no reading when a counter went back, as it does when an interface goes away."""
    return None if octets < 0 else round(octets * 8 / seconds)
