"""Real time-series servers for the tests: VictoriaMetrics, and InfluxDB 2 where there is one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from influxdb_client import InfluxDBClient

from collector.core.storeurl import parse

NO_INFLUX = "there is no InfluxDB 2 here"
NO_NAMESPACE = "root, unshare, nsenter, ip, ss and Debian's mosquitto are needed for a network of its own"
HOST = "127.0.0.1"
PROGRAM = "victoria-metrics"
FLAGS = ("-dedup.minScrapeInterval=1ms", "-retentionPeriod=100y")


class VictoriaMetrics:
    """A process on a free port; it can be killed and started anew on the same data."""

    def __init__(self, folder: Path, port: int, flags: tuple[str, ...] = FLAGS) -> None:
        if shutil.which(PROGRAM) is None:
            pytest.fail("victoria-metrics is not installed: `make servers`")
        self.folder, self.port, self.flags = folder, port, flags
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As in `[store] url`."""
        return f"victoria://{HOST}:{self.port}"

    @property
    def http(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Returns once it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            PROGRAM,
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr={HOST}:{self.port}",
            "-memory.allowedBytes=256MB",
            "-loggerLevel=WARN",
            *self.flags,
        ]
        with (self.folder / "victoria.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "victoria.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "VictoriaMetrics does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM: it saves what it has."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def flush(self) -> None:
        """What was written is found from now on."""
        urllib.request.urlopen(f"{self.http}/internal/force_flush", timeout=10).read()

    def empty(self) -> None:
        """Forget all series, those just written too: only what is found can be deleted."""
        self.flush()
        form = urllib.parse.urlencode({"match[]": '{__name__!=""}'}).encode()
        urllib.request.urlopen(f"{self.http}/api/v1/admin/tsdb/delete_series", form, timeout=10).read()

    def export(self, selector: str) -> list[str]:
        """The raw lines of series."""
        self.flush()
        form = urllib.parse.urlencode({"match[]": selector, "start": "0", "end": "4000000000"}).encode()
        with urllib.request.urlopen(f"{self.http}/api/v1/export", form, timeout=30) as answer:
            return [line.decode() for line in answer]

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.http}/health", timeout=1).read()
        except urllib.error.HTTPError:
            return True  # it wants an account
        except OSError:
            return False
        return True


class InfluxDB:
    """An InfluxDB 2: the one that NAGARI_TEST_INFLUX_URL names, or the PATH's `influxd`, started here."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._process = folder, None
        named = os.environ.get("NAGARI_TEST_INFLUX_URL")
        if named:
            place = parse(named)
            self.http, self.org, self.token = place.http, place.org, os.environ["NAGARI_TEST_INFLUX_TOKEN"]
        else:
            self.http, self.org, self.token = f"http://{HOST}:{port}", "nagari", secrets.token_urlsafe(32)
            self._start(port)
        self._client = InfluxDBClient(self.http, self.token, org=self.org)

    def url(self, bucket: str) -> str:
        """As in `[store] url`."""
        return f"influx://{self.http.removeprefix('http://')}/{self.org}/{bucket}"

    def bucket(self) -> str:
        """A fresh bucket."""
        name = f"nagari-test-{secrets.token_hex(6)}"
        self._client.buckets_api().create_bucket(bucket_name=name, org=self.org)
        return name

    def remove(self, bucket: str) -> None:
        """Take a bucket away."""
        self._client.buckets_api().delete_bucket(self._client.buckets_api().find_bucket_by_name(bucket))

    def stop(self) -> None:
        """End it, if it was started here."""
        self._client.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def _start(self, port: int) -> None:
        command = [
            "influxd",
            f"--bolt-path={self._folder}/influxd.bolt",
            f"--engine-path={self._folder}/engine",
        ]
        command += [f"--sqlite-path={self._folder}/influxd.sqlite", f"--http-bind-address={HOST}:{port}"]
        with (self._folder / "influxd.log").open("ab") as log:
            self._process = subprocess.Popen([*command, "--reporting-disabled"], stdout=log, stderr=log)
        account = {"username": "nagari", "password": secrets.token_urlsafe(16), "bucket": "first"}
        body = json.dumps({**account, "org": self.org, "token": self.token}).encode()
        deadline = time.monotonic() + 30
        while not _sent(f"{self.http}/api/v2/setup", body):
            assert time.monotonic() < deadline, (self._folder / "influxd.log").read_text()[-2000:]
            time.sleep(0.1)


def _sent(url: str, body: bytes) -> bool:
    try:
        urllib.request.urlopen(url, body, timeout=5).read()
    except OSError:
        return False
    return True


def influx_2() -> bool:
    """Whether there is one: named by NAGARI_TEST_INFLUX_URL (influx://host/org/any), or on the PATH."""
    if os.environ.get("NAGARI_TEST_INFLUX_URL"):
        return True
    program = shutil.which("influxd")
    if program is None:
        return False
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout
    return "InfluxDB v2." in said or "InfluxDB 2." in said
