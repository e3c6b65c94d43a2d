"""Reads a mosquitto.conf as mosquitto does: which setting holds for all, and which for which listener."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from devices.problems import Problems

OPENING = frozenset({"port", "bind_address"})
"""What names the default listener, the one without a `listener` line."""
PER_LISTENER = OPENING | {
    *("bind_interface", "max_connections", "max_qos", "mount_point", "protocol", "socket_domain"),
    *("cafile", "capath", "certfile", "keyfile", "ciphers", "ciphers_tls1.3", "crlfile", "dhparamfile"),
    *("psk_hint", "require_certificate", "tls_engine", "tls_engine_kpass_sha1", "tls_keyform", "tls_version"),
    *("use_identity_as_username", "use_subject_as_username", "use_username_as_clientid"),
}
"""Settings of one listener; before the first `listener` of a file they open the default listener."""
SECURITY = frozenset({"allow_anonymous", "password_file", "psk_file", "acl_file"})
"""Settings of one listener with `per_listener_settings true`, else of all."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A line of the file; `where` is file:line, or says that it is the default."""

    value: str
    where: str


@dataclass(slots=True)
class ListenerSettings:
    """What one listener is told. `opened_by`: `listener`, or the setting that opened the default one."""

    where: str
    port: str
    address: str
    opened_by: str = "listener"
    settings: dict[str, Setting] = field(default_factory=dict)

    @property
    def meant(self) -> bool:
        """Whether a line asked for it, and not only a setting that stands before any listener."""
        return self.opened_by == "listener" or bool(OPENING & self.settings.keys())

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it (or it is a socket file)."""
        if self.port == "0" or self.address == "localhost":
            return True
        try:
            return ip_address(self.address).is_loopback
        except ValueError:
            return False

    def is_true(self, name: str) -> bool:
        """Whether this listener has this switch on."""
        return name in self.settings and self.settings[name].value.lower() == "true"


@dataclass(slots=True)
class Conf:
    """A mosquitto.conf with what it includes: the last value of each setting, and the listeners."""

    settings: dict[str, Setting] = field(default_factory=dict)
    listeners: list[ListenerSettings] = field(default_factory=list)
    default: ListenerSettings | None = None

    def get(self, name: str, default: str) -> str:
        """The value of a setting that holds for all, in lower case."""
        return self.settings[name].value.lower() if name in self.settings else default

    @property
    def per_listener(self) -> bool:
        """Whether each listener has accounts and an ACL of its own."""
        return self.get("per_listener_settings", "false") == "true"


def read(file: Path) -> Conf:
    """Read the file and the *.conf of its `include_dir`. Raises Problems."""
    conf = Conf()
    _read(file, conf)
    return conf


def _read(file: Path, conf: Conf) -> None:
    listener: ListenerSettings | None = None  # each included file begins anew
    for where, name, value in _lines(file):
        if name == "listener":
            port, _, address = value.partition(" ")
            listener = ListenerSettings(where, port, address.strip())
            conf.listeners.append(listener)
        elif name == "include_dir":
            for each in sorted(Path(value).glob("*.conf")):
                _read(each, conf)
        elif name in PER_LISTENER or (name in SECURITY and (listener or conf.per_listener)):
            (listener or _default(conf, where, name)).settings[name] = Setting(value, where)
        else:
            conf.settings[name] = Setting(value, where)
    if conf.default:
        told = conf.default.settings
        conf.default.port = told["port"].value if "port" in told else "1883"
        conf.default.address = told["bind_address"].value if "bind_address" in told else ""


def _default(conf: Conf, where: str, name: str) -> ListenerSettings:
    if conf.default is None:
        conf.default = ListenerSettings(where, "1883", "", name)
        conf.listeners.append(conf.default)
    return conf.default


def _lines(file: Path) -> list[tuple[str, str, str]]:
    try:
        text = file.read_text("utf-8", "replace")
    except OSError as error:
        why = error.strerror or str(error)
        raise Problems.one(str(file), f"cannot be read ({why})", "name the broker's mosquitto.conf") from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            found.append((f"{file}:{number}", name, value.strip()))
    return found
