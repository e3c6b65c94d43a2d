"""The whole examination, in the order in which a person would mend what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from collector.core.config import Config, Mqtt, StoreConfig, load
from collector.doctor import machine, mosquitto, mosquitto_conf, mosquitto_log
from collector.doctor.findings import Finding
from collector.doctor.mosquitto_conf import Setting
from collector.doctor.probe import ACCOUNT_MEND, BrokerDemands, probe
from collector.doctor.wire import Account
from collector.followers.versions import with_rules
from collector.state import State, StateError
from collector.store.base import StoreError
from collector.store.stores import connect
from devices import region
from devices.problems import Problems
from devices.secretfile import read_secret
from devices.tls import client_context


@dataclass(frozen=True, slots=True)
class Order:
    """What to look at. `username` and `password_file`: the doctor's own account at the broker."""

    config: Path
    mosquitto_conf: Path | None = None
    username: str | None = None
    password_file: Path | None = None


def examine(order: Order) -> Iterator[Finding]:
    """Every finding, as soon as it is there. Never raises for what is wrong: that is a finding."""
    try:
        config = load(order.config)
    except Problems as problems:
        yield from _bad("settings", problems)
        return
    yield Finding("ok", "settings", f"{order.config} reads well")
    yield from _region(config)
    yield from machine.disk(config)
    yield from _audit(config.data.dir / "state.db")
    yield machine.clock()
    yield from _store(config.store)
    if order.mosquitto_conf:
        yield from _conf(order.mosquitto_conf, config.mqtt)
    yield from _broker(config, order)


def account(mqtt: Mqtt, username: str | None = None, password_file: Path | None = None) -> Account:
    """The account of the settings, or another at the same broker. Raises Problems."""
    file = password_file if username else mqtt.password_file
    tls = client_context(mqtt.ca, mqtt.cert, mqtt.key) if mqtt.tls else None
    return Account(mqtt.host, mqtt.port, username or mqtt.username, read_secret(file) if file else None, tls)


def _bad(check: str, problems: Problems) -> list[Finding]:
    return [Finding("bad", check, f"{each.where}: {each.what}", each.mend) for each in problems.problems]


def _told(check: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except Problems as problems:
        return _bad(check, problems)


def _region(config: Config) -> list[Finding]:
    def look() -> list[Finding]:
        found = region.load(region.read_folder(config.region.dir), str(config.region.dir))
        what = (
            f"{found.name}: {len(found.sites)} sites, {len(found.devices)} devices, {len(found.links)} links"
        )
        findings = [Finding("ok", "region", what)]
        return findings + _told("rules", lambda: _rules(found, config.region.dir))

    return _told("region", look)


def _rules(found: region.Region, root: Path) -> list[Finding]:
    _, rules = with_rules(found, str(root))
    if not found.rules:
        return [
            Finding("warning", "rules", "there are none: no device will ever be alarmed", "add rules/*.toml")
        ]
    return [Finding("ok", "rules", f"{len(rules.rules)} rules, the collector's own among them")]


def _audit(file: Path) -> list[Finding]:
    """Whether anybody touched the audit; nothing to say before the first run."""
    if not file.exists():
        return []

    def look() -> list[Finding]:
        state = State(file)
        try:
            damage = state.check()
            broken = None if damage else state.verify_audit()
        except StateError as error:
            damage = str(error)
        finally:
            state.close()
        if damage:
            return [Finding("bad", "audit", damage, "put state.db back from a backup: docs/backup.md")]
        if broken is None:
            return [Finding("ok", "audit", "the chain is whole")]
        what = f"row {broken} was changed or taken away"
        return [Finding("bad", "audit", what, "find out who can write to state.db; compare with a backup")]

    return _told("audit", look)


def _store(config: StoreConfig) -> list[Finding]:
    """Whether the server of `[store] url` answers, lets us in and is one we know; a file needs no asking."""
    place = config.place
    if place.kind == "duckdb":
        return []

    def look() -> list[Finding]:
        server = connect(place, config)
        try:
            doubts = server.check()
        except StoreError as error:
            mend = "start the server, or mend store.url; until then the journal keeps what comes"
            return [Finding("bad", "store", str(error), mend)]
        finally:
            server.close()
        mend = "see docs/stores.md"
        told = [Finding("warning", "store", doubt, mend) for doubt in doubts]
        return told or [Finding("ok", "store", f"{place.http} answers and lets us in")]

    return _told("store", look)


def _conf(file: Path, mqtt: Mqtt) -> list[Finding]:
    def look() -> list[Finding]:
        conf = mosquitto_conf.read(file)
        found = mosquitto.judge(conf, mqtt.session_expiry)
        log = conf.settings.get("log_dest", Setting("", "")).value.split(maxsplit=1)
        names = {mqtt.client_id, mqtt.username or mqtt.client_id}
        return [*found, mosquitto_log.judge(Path(log[1]), names)] if log[:1] == ["file"] else found

    return _told("mosquitto.conf", look)


def _broker(config: Config, order: Order) -> list[Finding]:
    mqtt = config.mqtt

    def look() -> list[Finding]:
        if mqtt.username and not order.username and _runs(config):
            what = "not tried: the collector runs under this account, and might be thrown out by it"
            return [Finding("warning", "broker", what, ACCOUNT_MEND)]
        who = account(mqtt, order.username, order.password_file)
        return asyncio.run(probe(who, BrokerDemands(int(mqtt.session_expiry), mqtt.receive_max)))

    return _told("broker credentials", look)


def _runs(config: Config) -> bool:
    """Whether a collector of these settings runs now: it answers at its own address."""
    try:
        with urlopen(f"http://{config.http.listen}/healthz", timeout=1):
            return True
    except (OSError, ValueError):
        return False
