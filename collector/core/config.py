"""The collector's configuration: TOML, environment, pydantic. Every error named at start, with its mend."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from collector.core import storeurl
from collector.core.configfaults import Key, faults, hidden, key_lines
from devices.duration import Seconds, seconds
from devices.problems import Problems

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def size(value: object) -> int:
    """Bytes from `"20GB"`, `"500 MB"` or a number. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", str(value).strip(), re.IGNORECASE)
    if not found or isinstance(value, bool):
        raise ValueError(f'{value!r} is no size; write it like "20GB"')
    return int(float(found[1]) * _SIZES[(found[2] or "").upper()])


Size = Annotated[int, BeforeValidator(size), Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Data(_Section):
    """The data folder: journal, state, and DuckDB's files."""

    dir: Path = Path("./data")
    reserve: Size = size("32MB")  # released when the disk is full, so that the alarm can still be written


class Mqtt(_Section):
    """The broker."""

    url: str = "mqtt://127.0.0.1:1883"
    client_id: str = Field("nagari-collector", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    username: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    keepalive: Seconds = Field(15.0, ge=2, le=65535)
    session_expiry: Seconds = Field(7 * 86400.0, ge=1, lt=2**32)
    receive_max: int = Field(2000, ge=1, le=65535)

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError(
                f'{hidden(value)!r} is no broker; write it like "mqtt://127.0.0.1:1883" or "mqtts://host"'
            )
        _ = parts.port  # raises ValueError where it is no port
        if parts.password:
            raise ValueError(
                "a password does not belong in the url; put it in a file and name it in password_file"
            )
        return value

    @property
    def host(self) -> str:
        """The broker's host."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's port; 1883, or 8883 under TLS, unless given."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        """Whether the connection is under TLS."""
        return urlsplit(self.url).scheme == "mqtts"


class Http(_Section):
    """The API and the page."""

    listen: str = Field("127.0.0.1:8080", pattern=r"^[^\s:]+:\d{1,5}$")
    secure_cookie: bool = False  # true behind TLS
    hosts: tuple[str, ...] = ()  # the names people come in by, beside localhost and the address itself
    trusted_proxies: tuple[str, ...] = ()  # whose X-Forwarded-For is believed
    open_metrics: bool = False
    metrics_token_file: Path | None = None
    connections: int = Field(512, ge=8)
    connections_per_address: int = Field(256, ge=4)
    streams: int = Field(200, ge=1)
    streams_per_token: int = Field(20, ge=1)
    streams_per_address: int = Field(100, ge=1)

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]", host):
                raise ValueError(
                    f'{host!r} is no host; write it without scheme and port, like "noc.example.org"'
                )
        return tuple(host.lower() for host in value)

    @field_validator("trusted_proxies")
    @classmethod
    def _trusted_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError(
                    f'{proxy!r} is no address; write it like "127.0.0.1" or "10.20.0.0/24"'
                ) from None
        return value

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        if not 0 < int(value.rsplit(":", 1)[1]) < 65536:
            raise ValueError(f'{value!r} has no port from 1 to 65535; write it like "127.0.0.1:8080"')
        return value

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.listen.rsplit(":", 1)[0]

    @property
    def port(self) -> int:
        """The port to listen on."""
        return int(self.listen.rsplit(":", 1)[1])


class RegionSettings(_Section):
    """The region folder: inventory, rules, people."""

    dir: Path = Path("deploy/padang-pariaman")


class JournalSettings(_Section):
    """Size and age limits of the journal."""

    max_bytes: Size = size("20GB")
    max_age: Seconds = seconds("30d")
    segment_bytes: Size = size("128MB")


class StoreConfig(_Section):
    """The time-series store."""

    url: str = "duckdb:"
    memory: Size = size("128MB")  # DuckDB's own limit, most of it cache
    token_file: Path | None = None
    ca: Path | None = None

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        storeurl.parse(value)
        return value

    @property
    def place(self) -> storeurl.StoreUrl:
        """The url, parsed."""
        return storeurl.parse(self.url)


class StorageSettings(_Section):
    """The storage contract: how much there is, how long what is kept, when room is made (docs/storage.md).

    Without a capacity nothing is enforced. `margin`, `alarm` and `shed` are parts of the capacity.
    """

    capacity: Size | None = None
    raw: Seconds = Field(seconds("90d"), ge=86400)
    minute: Seconds = Field(seconds("2y"), ge=86400)
    hour: Seconds = Field(seconds("10y"), ge=86400)
    margin: float = Field(0.15, ge=0, lt=0.9)
    alarm: float = Field(0.8, gt=0, le=1)
    shed: float = Field(0.9, gt=0, le=0.98)

    @model_validator(mode="after")
    def _alarm_first(self) -> Self:
        if self.alarm >= self.shed:
            raise ValueError(f"alarm = {self.alarm} is not below shed = {self.shed}; alarm before")
        return self


class Limits(_Section):
    """Limits on what messages can make the collector keep in memory."""

    unclaimed_series: int = Field(10_000, ge=0)
    unclaimed_of_device: int = Field(100, ge=0)  # of them, so many of one device
    head_bytes: Size = size("64MB")  # of the journal's newest records shared in memory with the followers
    unacked_bytes: Size = size("16MB")  # received and not yet durable: beyond it the session stops reading


class Webhook(_Section):
    """A webhook that hears of alerts. The secret signs each body."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    url: str
    secret_file: Path | None = None
    allow_private: bool = False  # loopback and private addresses are refused unless this says so

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not re.match(r"https?://", value):
            raise ValueError('is no address to POST to; write it like "https://HOST/PATH"')
        return value


class Notify(_Section):
    """Who hears of alerts beside the page."""

    log: bool = True
    webhook: tuple[Webhook, ...] = ()


class Backup(_Section):
    """Where the backup goes, and what goes along (docs/backup.md). Without a repository there is none."""

    repository: str | None = None
    password_file: Path | None = None
    environment_file: Path | None = None
    include: tuple[Path, ...] = ()
    keep_daily: int = Field(14, ge=1)
    keep_weekly: int = Field(8, ge=0)
    keep_monthly: int = Field(24, ge=0)
    older_than: Seconds = Field(seconds("36h"), gt=0)

    @field_validator("repository")
    @classmethod
    def _repository(cls, value: str | None) -> str | None:
        return None if value is None else repository(value)


def repository(value: str) -> str:
    """The place of a backup, as restic writes it. Raises ValueError."""
    if not re.match(r"/|s3:|sftp:|rest:", value):
        raise ValueError(
            f"{value!r} is no place for a backup; "
            'write it like "/mnt/elsewhere", "s3:https://HOST/BUCKET" or "sftp:USER@HOST:/PATH"'
        )
    if re.search(r"//[^/@]*:[^/@]*@", value):
        raise ValueError("a password does not belong in the repository; name it in environment_file")
    return value


class Config(_Section):
    """All settings, by section."""

    data: Data = Data()
    mqtt: Mqtt = Mqtt()
    http: Http = Http()
    region: RegionSettings = RegionSettings()
    journal: JournalSettings = JournalSettings()
    store: StoreConfig = StoreConfig()
    storage: StorageSettings = StorageSettings()
    limits: Limits = Limits()
    notify: Notify = Notify()
    backup: Backup = Backup()


def load(file: Path, env: Mapping[str, str] = os.environ) -> Config:
    """Read the file, let NAGARI_SECTION__KEY override, check all. Raises Problems with every error at once.

    Relative paths count from the file's folder.
    """
    try:
        text = file.read_text("utf-8")
        tree = tomllib.loads(text)
    except FileNotFoundError:
        raise Problems.one(str(file), "there is no such file", "name one with --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Problems.one(str(file), f"cannot be read ({error})", "make it readable UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise Problems.one(str(file), f"is not TOML: {error}", "mend that line") from None
    variables = _override(tree, env)
    return check(tree, file, key_lines(text), variables)


def check(
    tree: dict[str, Any],
    file: Path,
    lines: Mapping[Key, int] = MappingProxyType({}),
    variables: Mapping[Key, str] = MappingProxyType({}),
) -> Config:
    """The configuration in `tree`, its relative paths counted from `file`'s folder. Raises Problems.

    `lines` of the file and `variables` of the environment are where its keys were written.
    """
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise faults(error, Config, file, lines, variables) from None
    root = file.resolve().parent
    rooted: Config = with_paths(config, root.joinpath)
    return rooted


def _override(tree: dict[str, Any], env: Mapping[str, str]) -> dict[Key, str]:
    variables: dict[Key, str] = {}
    for name, value in env.items():
        found = re.fullmatch(r"NAGARI_([A-Z]+)__([A-Z_]+)", name)
        if found:
            section, key = found[1].lower(), found[2].lower()
            if not isinstance(table := tree.setdefault(section, {}), dict):
                continue  # the file is wrong there, and is told so
            table[key] = value
            variables[section, key] = name
    return variables


def with_paths(node: Any, change: Callable[[Path], Path]) -> Any:
    """A copy of the settings, or of a part of them, with `change` applied to each path."""
    if isinstance(node, Path):
        return change(node)
    if isinstance(node, tuple):
        return tuple(with_paths(item, change) for item in node)
    if isinstance(node, BaseModel):
        changed = {name: with_paths(getattr(node, name), change) for name in type(node).model_fields}
        return node.model_copy(update=changed)
    return node
