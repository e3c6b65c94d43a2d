"""Judges a mosquitto.conf (2.0): which of its settings would lose messages or let strangers in."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from collector.doctor.findings import Finding
from collector.doctor.mosquitto_conf import Conf, ListenerSettings, Setting

PAYLOAD_MAX = 256 * 1024  # what the contract with the field allows
PACKET_MAX = PAYLOAD_MAX + 1024  # with topic and properties
RESEND_S = 10  # DeviceClient sends again what it published so long before a lost connection
_SPANS = {"h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}
Judgement = tuple[str, str, str] | None  # status, what, mend
Opening = tuple[bool, str, str, str]  # whether it is bad, where, what, mend


def judge(conf: Conf, session_expiry: float) -> list[Finding]:
    """A finding for each setting that matters. `session_expiry`: the collector's, in seconds."""
    findings = [
        _judged(conf, name, default, rule, session_expiry) for name, (default, rule) in _RULES.items()
    ]
    return findings + [finding for listener in conf.listeners for finding in _entry(conf, listener)]


def _judged(
    conf: Conf, name: str, default: str, rule: Callable[[str, Conf, float], Judgement], expiry: float
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


def _persistence(value: str, _conf: Conf, _expiry: float) -> Judgement:
    if value == "true":
        return None
    return "bad", "a restart of the broker loses every waiting message and session", "persistence true"


def _on_changes(value: str, _conf: Conf, _expiry: float) -> Judgement:
    if value != "true":
        return None
    what = "saves after every few messages: safe, but a factor of 25 slower, and minutes when a queue is long"
    return "warning", what, "autosave_on_changes false, with autosave_interval 1"


def _autosave(value: str, conf: Conf, _expiry: float) -> Judgement:
    interval = int(value)
    mend = "autosave_interval 1"
    if conf.get("persistence", "false") != "true":
        return None  # said already; nothing is saved at all
    if interval == 0:
        return "bad", "saves only when it ends in peace: a crash loses everything since its start", mend
    changes = conf.get("autosave_on_changes", "false") == "true"
    if changes:
        what = f"a crash loses up to the last {interval} changes"
        return None if interval == 1 else ("warning" if interval <= 100 else "bad", what, mend)
    what = f"a crash loses up to the last {interval + 1} s"
    if interval >= RESEND_S - 1:
        return "bad", f"{what}, more than the {RESEND_S} s that DeviceClient sends again", mend
    return None if interval <= 2 else ("warning", what, mend)


def _no_limit(what: str, status: str = "bad") -> Callable[[str, Conf, float], Judgement]:
    def rule(value: str, conf: Conf, _expiry: float) -> Judgement:
        return None if int(value) == 0 else (status, what.format(n=int(value)), "0 (no limit)")

    return rule


def _inflight(value: str, _conf: Conf, _expiry: float) -> Judgement:
    if int(value) == 0 or int(value) >= 500:
        return None
    what = f"the collector gets at most {value} messages per round trip, so a long queue is slow to empty"
    return "warning", what, "max_inflight_messages 2000"


def _expiration(value: str, _conf: Conf, expiry: float) -> Judgement:
    if value in {"", "never"}:
        return None
    span = int(value[:-1]) * _SPANS[value[-1]]
    if span >= expiry:
        return None
    days = expiry / 86400
    what = f"a collector that is away longer loses its queue, though its session should last {days:g} days"
    return "bad", what, "persistent_client_expiration 14d, or longer than mqtt.session_expiry"


def _at_least(least: int, unlimited: int) -> Callable[[str, Conf, float], Judgement]:
    def rule(value: str, _conf: Conf, _expiry: float) -> Judgement:
        if not value or int(value) == unlimited or int(value) >= least:
            return None
        return "bad", f"a lawful message of {PAYLOAD_MAX} bytes is refused", f"{least} or more"

    return rule


def _retain(value: str, _conf: Conf, _expiry: float) -> Judgement:
    if value == "true":
        return None
    return "bad", "publishers cannot leave their state (online, offline)", "retain_available true"


def _qos0(value: str, _conf: Conf, _expiry: float) -> Judgement:
    if value != "true":
        return None
    return "warning", "queues fill with messages that nobody promised to keep", "queue_qos0_messages false"


_RULES: dict[str, tuple[str, Callable[[str, Conf, float], Judgement]]] = {
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


def _entry(conf: Conf, listener: ListenerSettings) -> list[Finding]:
    check = f"mosquitto listener {listener.port} {listener.address}".rstrip()
    if not listener.meant:
        what = f"{listener.opened_by} stands before the first listener, so mosquitto opens one more,"
        what += " on all interfaces"
        mend = "put the setting below each `listener` line that it is meant for"
        return [Finding("bad", check, f"{listener.where}: {what}", mend)]
    said = [
        Finding("bad" if bad else "warning", check, f"{where}: {what}", mend)
        for bad, where, what, mend in [*_openings(conf, listener), *_sessions(conf, listener)]
    ]
    return said or [
        Finding("ok", check, f"{'this machine only' if listener.local else 'TLS, accounts, ACL'}")
    ]


def _sessions(conf: Conf, listener: ListenerSettings) -> list[Opening]:
    """Whether an account can enter under another's client id. Where there are no accounts, anybody can."""
    anonymous = _of(conf, listener, "allow_anonymous")
    accounts = not listener.local or _of(conf, listener, "password_file")
    if (anonymous and anonymous.value.lower() == "true") or not accounts:
        return []
    if listener.is_true("use_username_as_clientid"):
        return []
    what = "any account can take over or wipe the collector's session by naming its client id"
    return [(True, listener.where, what, "use_username_as_clientid true, below this listener")]


def _openings(conf: Conf, listener: ListenerSettings) -> list[Opening]:
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
    elif _takes_cbc(listener):
        what = "TLS 1.2 with CBC is taken, which is open to padding attacks"
        found.append((False, listener.where, what, "ciphers ECDHE+AESGCM:ECDHE+CHACHA20"))
    return found


def _takes_cbc(listener: ListenerSettings) -> bool:
    """Whether its TLS 1.2 takes a suite without authenticated encryption."""
    told = listener.settings
    if "certfile" not in told or ("tls_version" in told and told["tls_version"].value == "tlsv1.3"):
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(told["ciphers"].value if "ciphers" in told else "DEFAULT")
    except ssl.SSLError:  # a list for another OpenSSL
        return False
    return not all(cipher["aead"] for cipher in context.get_ciphers())


def _of(conf: Conf, listener: ListenerSettings, name: str) -> Setting | None:
    """With per_listener_settings the listener's own; otherwise one holds for all, wherever it stands."""
    if conf.per_listener:
        return listener.settings.get(name)
    everywhere = [conf.settings, *(each.settings for each in conf.listeners)]
    return next((settings[name] for settings in everywhere if name in settings), None)
