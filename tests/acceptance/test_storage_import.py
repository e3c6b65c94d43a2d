"""History comes in by the same door as everything: a real broker, a real collector."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.faults.checks import balanced, rule, rules
from tests.bench.rig import ROOT, Rig

DAY = 86_400_000
RULES = rules(rule("slow", "latency_ms", "above = 300.0, clear_below = 250.0"))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One for all of them: each has a time of its own."""
    rig = Rig(tmp_path_factory.mktemp("import") / "rig", sites=10, rules=RULES)
    rig.broker.start()
    rig.start()
    yield rig
    rig.end()


class Importer:
    """`nagari storage import` on a rig."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.token = rig.folder / "token"
        if not self.token.exists():
            self.token.touch(mode=0o600)
            self.token.write_text(rig.make_token())

    def command(self, *more: object) -> list[str]:
        where = ["--broker", self.rig.broker.url, "--region", self.rig.folder / "region"]
        command = [sys.executable, "-m", "collector.cli", "storage", "import", *where, *more]
        return [str(part) for part in command]

    def run(self, *more: object) -> tuple[int, dict[str, Any], str]:
        """The exit code, what it said as JSON, and stderr."""
        api = ["--api", f"http://127.0.0.1:{self.rig.http}", "--token-file", self.token, "--json"]
        done = subprocess.run(
            self.command(*more, *api), capture_output=True, text=True, check=False, cwd=ROOT, timeout=90
        )
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def history(rig: Rig, file: Path, count: int, days_ago: int, step: int = 60_000) -> int:
    """A long CSV of two metrics of ten routers, beginning so many days ago; gives the number of values."""
    begin = time.time_ns() // 1_000_000 // 1_000 * 1_000 - days_ago * DAY
    with file.open("w") as out:
        out.write("site,device,metric,time,value\n")
        for n in range(count):
            site, device = rig.devices[n % len(rig.devices)]
            for metric, value in (("latency_ms", 900.0 + n % 5), ("loss_pct", 0.5)):
                out.write(f"{site},{device},{metric},{begin + n * step},{value}\n")
    return 2 * count


def test_history_is_stored_in_its_own_time_and_judged_by_nobody_and_twice_is_duplicates_only(
    rig: Rig, tmp_path: Path
) -> None:
    file, importer = tmp_path / "history.csv", Importer(rig)
    values = history(rig, file, 6_000, 400)
    code, said, told = importer.run(file)
    assert code == 0, told
    assert said["values"] == said["new_values"] == values
    assert (said["duplicate_values"], said["quarantined"], said["missing_days"]) == (0, 0, 0)
    assert said["young"] == 0
    site, device = rig.devices[0]
    until = time.time_ns() // 1_000_000 - 350 * DAY
    asked = f"site={site}&device={device}&metric=latency_ms&from=0&to={until}&step={360 * DAY * 10}&agg=count"
    points = rig.get(f"/api/v1/series?{asked}")["points"]
    assert sum(count for _, count in points) == 600
    assert rig.get("/api/v1/alerts?state=all")["alerts"] == []
    assert not (tmp_path / "history.csv.import").exists()

    code, said, told = importer.run(file)
    assert code == 0, told
    assert (said["new_values"], said["stored"], said["conflicts"]) == (0, 0, 0)
    assert said["duplicate"] == said["messages"]
    assert balanced(rig.stats())


def test_an_import_that_is_killed_or_has_no_collector_goes_on_and_nothing_is_missing(
    rig: Rig, tmp_path: Path
) -> None:
    file, importer = tmp_path / "history.csv", Importer(rig)
    values = history(rig, file, 25_000, 300, 10_000)
    process = subprocess.Popen(importer.command(file), stderr=subprocess.DEVNULL, cwd=ROOT)
    notes = tmp_path / "history.csv.import"
    deadline = time.monotonic() + 30
    while not notes.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = json.loads(notes.read_text())["values"]
    assert 0 < done < values
    rig.kill()
    rig.start()
    code, said, told = importer.run(file)
    assert code == 0, told
    assert said["values"] == values
    assert said["missing_days"] == 0
    assert said["dropped"] == said["quarantined"] == 0
    assert balanced(rig.stats())


def test_a_file_that_has_changed_is_not_gone_on_with(rig: Rig, tmp_path: Path) -> None:
    file, importer = tmp_path / "history.csv", Importer(rig)
    history(rig, file, 100, 95)
    notes = {"broker": rig.broker.url, "stamps": {str(file): [1, 1]}, "done": {}, "messages": 0, "values": 0}
    file.with_name("history.csv.import").write_text(json.dumps({**notes, "before": {}}))
    code, _, told = importer.run(file)
    assert code == 2
    assert "a file has changed since" in told


def test_bad_lines_are_told_and_the_others_go_on_unless_it_is_strict(rig: Rig, tmp_path: Path) -> None:
    file, importer = tmp_path / "history.csv", Importer(rig)
    values = history(rig, file, 100, 90)
    with file.open("a") as out:
        out.write("no,such\n")
    code, said, told = importer.run(file, "--strict")
    assert (code, "values" in said) == (1, False)
    assert f"{file}:{values + 2}: has 2 cells" in told
    code, said, told = importer.run(file)
    assert (code, said["bad"], said["new_values"]) == (0, 1, values)


def test_what_the_region_does_not_know_is_told_first_and_sent_only_when_allowed(
    rig: Rig, tmp_path: Path
) -> None:
    file, importer = tmp_path / "history.csv", Importer(rig)
    site, device = rig.devices[0]
    now = time.time_ns() // 1_000_000 - 3 * DAY
    file.write_text(
        f"site,device,metric,time,value\n{site},{device},flux,{now},1\n{site},odd,loss_pct,{now},1\n"
    )
    code, said, told = importer.run(file)
    assert (code, "values" in said) == (1, False)
    assert "router has no metric flux" in told
    assert "there is no device odd" in told
    code, said, told = importer.run(file, "--allow-unclaimed")
    assert (code, said["new_values"], said["unclaimed"]) == (0, 2, 2), told


def test_a_dry_run_sends_nothing(rig: Rig, tmp_path: Path) -> None:
    file, importer = tmp_path / "history.csv", Importer(rig)
    history(rig, file, 100, 85)
    before = rig.stats()["received"]
    code, said, _ = importer.run(file, "--dry-run")
    assert (code, said["readings"]) == (0, 200)
    assert rig.stats()["received"] == before


def test_with_nobody_to_listen_it_gives_up_with_a_sentence_and_counts_nothing_as_sent(
    rig: Rig, tmp_path: Path
) -> None:
    file, importer = tmp_path / "history.csv", Importer(rig)
    history(rig, file, 100, 80)
    nobody = ("--broker", "mqtt://127.0.0.1:9")
    done = subprocess.run(
        importer.command(file, "--patience", 1, *nobody),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "it goes on where it stood" in done.stderr
    assert "Traceback" not in done.stderr
