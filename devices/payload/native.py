"""The native payloads: JSON, strict types, all or nothing. Every refusal is a PayloadError with one sentence.

    tele   {"ts": 1764000000123, "values": {"rx_dbm": -21.4, "on_battery": false}, "seq": 7}, or an array
    event  {"ts": 1764000000123, "event": "dying_gasp", "data": {}}
    state  online | offline
    cmd    {"id": "c1", "name": "switch_uplink", "args": {"to": "lte"}, "expires": 1764000060000, "sig": "…"}
    ack    {"id": "c1", "status": "done", "detail": "", "ts": 1764000000123}

Unknown keys are ignored. `site` and `device`, if present, must equal the topic: pass its address, or call
`check_identity`. Numbers are finite; a value of null is no reading, left for the caller to skip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NotRequired, TypeVar, cast

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict

from devices.model import Address, Command, CommandAck, Event

MAX_BYTES: Final = 256 * 1024
MAX_VALUES: Final = 500
MAX_TS: Final = (2**63 - 1) // 1_000_000
"""The last millisecond that epoch nanoseconds in 64 bits can say."""

_SUSPECT = 16 * 1024
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NUMBER = Annotated[float, Field(allow_inf_nan=False)]
_Value = Annotated[_NUMBER | bool | None, Field(union_mode="left_to_right")]
_Ts = Annotated[int, Field(ge=0, le=MAX_TS)]
_CONFIG = ConfigDict(strict=True, extra="ignore")


class PayloadError(ValueError):
    """A payload that is refused; `reason` is one short sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@with_config(_CONFIG)
class Tele(TypedDict):
    """Readings of one device at one time. `ts` epoch ms; `age_ms` (monotonic) beats it; `seq` uint32."""

    values: Annotated[dict[str, _Value], Field(min_length=1, max_length=MAX_VALUES)]
    ts: NotRequired[_Ts]
    age_ms: NotRequired[_Ts]
    seq: NotRequired[Annotated[int, Field(ge=0, lt=2**32)]]
    site: NotRequired[str]
    device: NotRequired[str]


@with_config(_CONFIG)
class _Event(TypedDict):
    event: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
    ts: NotRequired[_Ts]
    data: NotRequired[dict[str, Any]]
    site: NotRequired[str]
    device: NotRequired[str]


@with_config(_CONFIG)
class _Command(TypedDict):
    id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
    expires: _Ts
    args: NotRequired[dict[str, Any]]
    sig: NotRequired[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    site: NotRequired[str]
    device: NotRequired[str]


@with_config(_CONFIG)
class _Ack(TypedDict):
    id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
    status: Literal["accepted", "done", "failed", "rejected"]
    detail: NotRequired[Annotated[str, Field(max_length=4096)]]
    ts: NotRequired[_Ts]
    site: NotRequired[str]
    device: NotRequired[str]


_ONE: TypeAdapter[Tele] = TypeAdapter(Tele)
_MANY: TypeAdapter[list[Tele]] = TypeAdapter(
    Annotated[list[Tele], FailFast(), Field(min_length=1, max_length=MAX_VALUES)]
)
_EVENT: TypeAdapter[_Event] = TypeAdapter(_Event)
_COMMAND: TypeAdapter[_Command] = TypeAdapter(_Command)
_ACK: TypeAdapter[_Ack] = TypeAdapter(_Ack)
_validate_one = _ONE.validator.validate_json


def parse_tele(payload: bytes) -> Tele | list[Tele]:
    """Readings, checked but for the metrics' names. Raises PayloadError.

    The hot path: about 2 µs for five values. Names are left to `check_names`, once per distinct set of names:
    a caller sees the same few sets again and again. Whoever keeps no such cache calls `parse_tele_checked`.
    """
    if len(payload) > MAX_BYTES:
        raise PayloadError(f"the payload has {len(payload)} bytes, more than {MAX_BYTES}")
    if len(payload) > _SUSPECT:
        _check_count(payload)
    try:
        if payload[:1] == b"{" or payload.lstrip()[:1] == b"{":
            one: Tele = _validate_one(payload)
            return one
        many = _MANY.validate_json(payload)
    except ValidationError as error:
        raise PayloadError(_reason(error)) from None
    count = sum(len(tele["values"]) for tele in many)
    if count > MAX_VALUES:
        raise PayloadError(f"the payload has {count} values, more than {MAX_VALUES}")
    return many


def check_names(names: Iterable[str]) -> None:
    """Refuse metric names outside `[a-z][a-z0-9_]{0,63}`. Raises PayloadError."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise PayloadError(
                f"the metric name {_short(name)} is not 1 to 64 of a-z 0-9 _ beginning with a letter"
            )


def check_identity(found: Mapping[str, Any], address: Address) -> None:
    """Refuse a payload that names another site or device than its topic. Raises PayloadError."""
    for key, right in (("site", address.site), ("device", address.device)):
        if found.get(key, right) != right:
            raise PayloadError(f"the payload's {key} {_short(found[key])} is not the topic's {right!r}")


def parse_tele_checked(payload: bytes, address: Address | None = None) -> list[Tele]:
    """Readings, checked in full, always as a list. Raises PayloadError."""
    found = parse_tele(payload)
    many = found if isinstance(found, list) else [found]
    for tele in many:
        check_names(tele["values"])
        if address is not None:
            check_identity(tele, address)
    return many


def parse_state(payload: bytes) -> Literal["online", "offline"]:
    """A publisher's presence: those bare words and nothing else. Raises PayloadError."""
    if payload == b"online":
        return "online"
    if payload == b"offline":
        return "offline"
    raise PayloadError(f"the state {_short(payload[:80])} is neither online nor offline")


def parse_event(payload: bytes, address: Address | None = None) -> Event:
    """An event. Raises PayloadError."""
    found = _parse(_EVENT, payload, address)
    return Event(found["event"], found.get("ts"), _finite("data", found.get("data", {})))


def parse_command(payload: bytes, address: Address | None = None) -> Command:
    """A command; its signature is for `devices.signing` to judge. Raises PayloadError."""
    found = _parse(_COMMAND, payload, address)
    args = _finite("args", found.get("args", {}))
    return Command(found["id"], found["name"], args, found["expires"], found.get("sig", ""))


def parse_ack(payload: bytes, address: Address | None = None) -> CommandAck:
    """A device's answer to a command. Raises PayloadError."""
    found = _parse(_ACK, payload, address)
    return CommandAck(found["id"], found["status"], found.get("detail", ""), found.get("ts"))


def encode_tele(
    values: Mapping[str, float | bool | None],
    ts: int | None = None,
    seq: int | None = None,
    age_ms: int | None = None,
) -> bytes:
    """Readings of one time. Raises PayloadError if a reader would refuse them."""
    return encode_backfill([_tele(values, ts, seq, age_ms)], alone=True)


def encode_backfill(many: Sequence[Tele], *, alone: bool = False) -> bytes:
    """Readings of several times in one message; `alone`: one, without the array. Raises PayloadError."""
    payload = _dump(many[0] if alone else list(many))
    parse_tele_checked(payload)
    return payload


def encode_state(online: bool) -> bytes:
    """A publisher's presence."""
    return b"online" if online else b"offline"


def encode_event(event: Event) -> bytes:
    """An event. Raises PayloadError if a reader would refuse it."""
    payload = _dump({**_present(ts=event.ts), "event": event.event, "data": dict(event.data)})
    parse_event(payload)
    return payload


def encode_command(command: Command) -> bytes:
    """A command. Raises PayloadError if a reader would refuse it."""
    body = {"id": command.id, "name": command.name, "args": dict(command.args), "expires": command.expires}
    payload = _dump({**body, **({"sig": command.sig} if command.sig else {})})
    parse_command(payload)
    return payload


def encode_ack(ack: CommandAck) -> bytes:
    """A device's answer to a command. Raises PayloadError if a reader would refuse it."""
    payload = _dump({"id": ack.id, "status": ack.status, "detail": ack.detail, **_present(ts=ack.ts)})
    parse_ack(payload)
    return payload


def _check_count(payload: bytes) -> None:
    """Refuse a flood of values before the strict reader writes an error about each of them."""
    try:
        tree = from_json(payload)
    except ValueError:
        return  # the strict reader says why
    many = tree if isinstance(tree, list) else [tree]
    values = (one.get("values") for one in many if isinstance(one, dict))
    count = sum(len(found) for found in values if isinstance(found, dict))
    if count > MAX_VALUES:
        raise PayloadError(f"the payload has {count} values, more than {MAX_VALUES}")


def _tele(
    values: Mapping[str, float | bool | None], ts: int | None, seq: int | None, age_ms: int | None
) -> Tele:
    return cast(Tele, {**_present(ts=ts, age_ms=age_ms), "values": dict(values), **_present(seq=seq)})


def _present(**fields: int | None) -> dict[str, int]:
    return {key: value for key, value in fields.items() if value is not None}


def _dump(tree: object) -> bytes:
    try:
        return json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"the payload cannot be written as JSON ({error})") from None


_T = TypeVar("_T")


def _parse(adapter: TypeAdapter[_T], payload: bytes, address: Address | None) -> _T:
    if len(payload) > MAX_BYTES:
        raise PayloadError(f"the payload has {len(payload)} bytes, more than {MAX_BYTES}")
    try:
        found = adapter.validate_json(payload)
    except ValidationError as error:
        raise PayloadError(_reason(error)) from None
    if address is not None:
        check_identity(cast(Mapping[str, Any], found), address)
    return found


def _finite(key: str, tree: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(tree, allow_nan=False)
    except ValueError:
        raise PayloadError(f"{key} holds NaN, Infinity or a number too large") from None
    return tree


_SHOULD: Final = {
    "ts": f"ts is not a whole number from 0 to {MAX_TS} (epoch milliseconds)",
    "age_ms": f"age_ms is not a whole number from 0 to {MAX_TS}",
    "seq": "seq is not a whole number from 0 to 4294967295",
    "site": "site is not text",
    "device": "device is not text",
    "event": "event is not a name of 1 to 64 of a-z 0-9 _ beginning with a letter",
    "data": "data is not an object",
    "id": "id is not 1 to 64 of A-Z a-z 0-9 _ -",
    "name": "name is not a name of 1 to 64 of a-z 0-9 _ beginning with a letter",
    "args": "args is not an object",
    "expires": f"expires is not a whole number from 0 to {MAX_TS} (epoch milliseconds)",
    "sig": "sig is not 64 hex digits in lower case",
    "status": "status is none of accepted, done, failed, rejected",
    "detail": "detail is not text of at most 4096 characters",
}


_ARRAYS: Final = {
    "too_short": "the array is empty",
    "too_long": f"the array has more than {MAX_VALUES} readings",
}


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=True, include_input=False)[0]
    kind, where = first["type"], first["loc"]
    if kind == "json_invalid":
        return f"the payload is not JSON: {_short(str(first['ctx']['error']), quoted=False)}"
    key = where[1] if where and isinstance(where[0], int) and len(where) > 1 else where[0] if where else ""
    at = f" in reading {where[0]}" if where and isinstance(where[0], int) else ""
    if kind == "missing":
        return f"{key} is missing{at}"
    if key == "values":
        return _values_reason(kind, where[2 if at else 1 :], at)
    if key in _SHOULD:
        return _SHOULD[str(key)] + at
    return _ARRAYS.get(kind, f"the payload is not an object{at}")


def _values_reason(kind: str, rest: tuple[int | str, ...], at: str) -> str:
    if kind == "too_short":
        return f"values is empty{at}"
    if kind == "too_long":
        return f"values has more than {MAX_VALUES} entries{at}"
    if rest:
        return f"the value of {_short(str(rest[0]))} is not a finite number, true, false or null{at}"
    return f"values is not an object{at}"


def _short(value: object, *, quoted: bool = True) -> str:
    text = repr(value) if quoted else str(value)
    return text if len(text) <= 100 else text[:97] + "..."
