"""Judges a mosquitto.conf (2.0): which of its settings would lose messages or let strangers in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from collector.doctor.findings import Finding
from devices.problems import Problems

PAYLOAD_MAX = 256 * 1024  # what the contract with the field allows
PACKET_MAX = PAYLOAD_MAX + 1024  # with topic and properties
RESEND_S = 10  # DeviceClient sends again what it published so long before a lost connection
_SPANS = {"h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}
Verdict = tuple[str, str, str] | None  # status, what, mend


@dataclass(frozen=True, slots=True)
class Setting:
    """A line of the file; `where` is file:line, or says that it is the default."""

    value: str
    where: str


@dataclass(slots=True)
class Listener:
    """One `listener`, with the settings that stand below it."""

    where: str
    port: str
    address: str
    settings: dict[str, Setting] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it (or it is a socket file)."""
        if self.port == "0" or self.address == "localhost":
            return True
        try:
            return ip_address(self.address).is_loopback
        except ValueError:
            return False


@dataclass(slots=True)
class Conf:
    """A mosquitto.conf with what it includes: the last value of each setting, and the listeners."""

    settings: dict[str, Setting] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)


def read(file: Path) -> Conf:
    """Read the file and the *.conf of its `include_dir`. Raises Problems."""
    conf = Conf()
    for where, name, value in _lines(file):
        if name == "listener":
            port, _, address = value.partition(" ")
            conf.listeners.append(Listener(where, port, address.strip()))
        elif conf.listeners and name in _PER_LISTENER:
            conf.listeners[-1].settings[name] = Setting(value, where)
        else:
            conf.settings[name] = Setting(value, where)
    return conf


def judge(conf: Conf, session_expiry: float) -> list[Finding]:
    """A finding for each setting that matters. `session_expiry`: the collector's, in seconds."""
    findings = [
        _judged(conf, name, default, rule, session_expiry) for name, (default, rule) in _RULES.items()
    ]
    return findings + [finding for listener in conf.listeners for finding in _entry(conf, listener)]


def _lines(file: Path) -> list[tuple[str, str, str]]:
    try:
        text = file.read_text("utf-8", "replace")
    except OSError as error:
        why = error.strerror or str(error)
        raise Problems.one(str(file), f"cannot be read ({why})", "name the broker's mosquitto.conf") from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        name, _, value = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        found.append((f"{file}:{number}", name, value.strip()))
        if name == "include_dir":
            included = sorted(Path(value.strip()).glob("*.conf"))
            found += [entry for each in included for entry in _lines(each)]
    return found


def _judged(
    conf: Conf, name: str, default: str, rule: Callable[[str, Conf, float], Verdict], expiry: float
) -> Finding:
    setting = conf.settings.get(name, Setting(default, "mosquitto's default"))
    check = f"mosquitto {name}"
    try:
        verdict = rule(setting.value.lower(), conf, expiry)
    except (ValueError, KeyError):
        return Finding(
            "bad", check, f"{setting.where}: {setting.value!r} cannot be read", "see mosquitto.conf(5)"
        )
    if verdict is None:
        return Finding("ok", check, f"{setting.value or 'not set'} ({setting.where})")
    status, what, mend = verdict
    said = f"{setting.where}: {name} {setting.value}".rstrip() + f": {what}"
    return Finding("bad" if status == "bad" else "warning", check, said, mend)


def _get(conf: Conf, name: str, default: str) -> str:
    return conf.settings[name].value.lower() if name in conf.settings else default


def _persistence(value: str, _conf: Conf, _expiry: float) -> Verdict:
    if value == "true":
        return None
    return "bad", "a restart of the broker loses every waiting message and session", "persistence true"


def _on_changes(value: str, _conf: Conf, _expiry: float) -> Verdict:
    if value != "true":
        return None
    what = "saves after every few messages: safe, but a factor of 25 slower, and minutes when a queue is long"
    return "warning", what, "autosave_on_changes false, with autosave_interval 1"


def _autosave(value: str, conf: Conf, _expiry: float) -> Verdict:
    interval = int(value)
    mend = "autosave_interval 1"
    if _get(conf, "persistence", "false") != "true":
        return None  # said already; nothing is saved at all
    if interval == 0:
        return "bad", "saves only when it ends in peace: a crash loses everything since its start", mend
    changes = _get(conf, "autosave_on_changes", "false") == "true"
    if changes:
        what = f"a crash loses up to the last {interval} changes"
        return None if interval == 1 else ("warning" if interval <= 100 else "bad", what, mend)
    what = f"a crash loses up to the last {interval + 1} s"
    if interval >= RESEND_S - 1:
        return "bad", f"{what}, more than the {RESEND_S} s that DeviceClient sends again", mend
    return None if interval <= 2 else ("warning", what, mend)


def _no_limit(what: str, status: str = "bad") -> Callable[[str, Conf, float], Verdict]:
    def rule(value: str, conf: Conf, _expiry: float) -> Verdict:
        return None if int(value) == 0 else (status, what.format(n=int(value)), "0 (no limit)")

    return rule


def _inflight(value: str, _conf: Conf, _expiry: float) -> Verdict:
    if int(value) == 0 or int(value) >= 500:
        return None
    what = f"the collector gets at most {value} messages per round trip, so a long queue is slow to empty"
    return "warning", what, "max_inflight_messages 2000"


def _expiration(value: str, _conf: Conf, expiry: float) -> Verdict:
    if value in {"", "never"}:
        return None
    span = int(value[:-1]) * _SPANS[value[-1]]
    if span >= expiry:
        return None
    days = expiry / 86400
    what = f"a collector that is away longer loses its queue, though its session should last {days:g} days"
    return "bad", what, "persistent_client_expiration 14d, or longer than mqtt.session_expiry"


def _at_least(least: int, unlimited: int) -> Callable[[str, Conf, float], Verdict]:
    def rule(value: str, _conf: Conf, _expiry: float) -> Verdict:
        if not value or int(value) == unlimited or int(value) >= least:
            return None
        return "bad", f"a lawful message of {PAYLOAD_MAX} bytes is refused", f"{least} or more"

    return rule


def _retain(value: str, _conf: Conf, _expiry: float) -> Verdict:
    if value == "true":
        return None
    return "bad", "publishers cannot leave their state (online, offline)", "retain_available true"


def _qos0(value: str, _conf: Conf, _expiry: float) -> Verdict:
    if value != "true":
        return None
    return "warning", "queues fill with messages that nobody promised to keep", "queue_qos0_messages false"


_RULES: dict[str, tuple[str, Callable[[str, Conf, float], Verdict]]] = {
    "persistence": ("false", _persistence),
    "autosave_on_changes": ("false", _on_changes),
    "autosave_interval": ("1800", _autosave),
    "max_queued_messages": (
        "1000",
        _no_limit("while the collector is away only {n} messages wait, the rest are dropped without a word"),
    ),
    "max_queued_bytes": (
        "0",
        _no_limit("while the collector is away only {n} bytes of messages wait, the rest are dropped"),
    ),
    "max_inflight_messages": ("20", _inflight),
    "max_inflight_bytes": ("0", _no_limit("at most {n} bytes are under way to the collector", "warning")),
    "memory_limit": ("0", _no_limit("the broker refuses messages when it holds {n} bytes")),
    "persistent_client_expiration": ("", _expiration),
    "message_size_limit": ("0", _at_least(PAYLOAD_MAX, 0)),
    "max_packet_size": ("", _at_least(PACKET_MAX, 0)),
    "retain_available": ("true", _retain),
    "queue_qos0_messages": ("false", _qos0),
}
_PER_LISTENER = {
    "certfile",
    "keyfile",
    "cafile",
    "capath",
    "tls_version",
    "require_certificate",
    "psk_file",
} | {
    "protocol",
    "mount_point",
    "max_connections",
    "use_username_as_clientid",
}
_ENTRY = {
    "allow_anonymous",
    "password_file",
    "acl_file",
}  # a listener's own when per_listener_settings is true
_PER_LISTENER |= _ENTRY


def _entry(conf: Conf, listener: Listener) -> list[Finding]:
    check = f"mosquitto listener {listener.port} {listener.address}".rstrip()
    said = [
        Finding("bad" if bad else "warning", check, f"{where}: {what}", mend)
        for bad, where, what, mend in _openings(conf, listener)
    ]
    return said or [
        Finding("ok", check, f"{'this machine only' if listener.local else 'TLS, accounts, ACL'}")
    ]


def _openings(conf: Conf, listener: Listener) -> list[tuple[bool, str, str, str]]:
    if listener.local:
        return []
    found = []
    anonymous = _of(conf, listener, "allow_anonymous")
    if anonymous and anonymous.value.lower() == "true":
        mend = "allow_anonymous false, with a password_file"
        found.append(
            (True, anonymous.where, "anybody who reaches this listener may publish as anybody", mend)
        )
    elif not _of(conf, listener, "acl_file") and "plugin" not in conf.settings:
        mend = "an acl_file; deploy/mosquitto/nagari.acl is one"
        found.append((True, listener.where, "without an acl_file any account may publish as any other", mend))
    if not {"certfile", "psk_file"} & listener.settings.keys():
        mend = "certfile and keyfile, or bind it to 127.0.0.1"
        found.append((False, listener.where, "passwords and readings cross the network in the clear", mend))
    return found


def _of(conf: Conf, listener: Listener, name: str) -> Setting | None:
    """With per_listener_settings the listener's own; otherwise one holds for all, wherever it stands."""
    if _get(conf, "per_listener_settings", "false") == "true":
        return listener.settings.get(name)
    everywhere = [conf.settings, *(each.settings for each in conf.listeners)]
    return next((settings[name] for settings in everywhere if name in settings), None)
