"""Where the readings are kept: what `[store] url` says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from collector.core.configfaults import hidden

_FORMS = {
    "duckdb": 'write "duckdb:"',
    "influx": 'write it like "influx://127.0.0.1:8086/org/bucket"',
    "victoria": 'write it like "victoria://127.0.0.1:8428"',
}
_PORTS = {"influx": 8086, "victoria": 8428}


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """`kind` is duckdb, influx or victoria; `http` a server's address; `path` DuckDB's file, if named."""

    text: str
    kind: str
    http: str = ""
    org: str = ""
    bucket: str = ""
    path: str = ""

    @property
    def slug(self) -> str:
        """A file name's part that tells servers apart."""
        return re.sub(r"[^A-Za-z0-9]+", "-", self.text.partition("://")[2]).strip("-")


def parse(text: str) -> StoreUrl:
    """Read the url. Raises ValueError, with the mend after a semicolon."""
    scheme, _, rest = text.partition(":")
    if scheme == "duckdb":
        return StoreUrl(text, "duckdb", path=rest)
    kind = scheme.removesuffix("s") if scheme in {"influxs", "victorias"} else scheme
    if kind not in _PORTS:
        known = "duckdb:, influx:// or victoria:// (influxs:// and victorias:// for TLS)"
        raise ValueError(f"{hidden(text)!r} is no store this version knows; it begins with {known}")
    parts = urlsplit(text)
    if parts.username or parts.password:
        raise ValueError("a password does not belong in the url; put it in a file and name it in token_file")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{hidden(text)!r} is no {kind} server; {_FORMS[kind]}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    http = f"{'https' if scheme != kind else 'http'}://{host}:{parts.port or _PORTS[kind]}"
    names = [unquote(name) for name in parts.path.strip("/").split("/") if name]
    if kind == "victoria":
        return StoreUrl(text, kind, http + parts.path.rstrip("/"))
    if len(names) != 2:
        raise ValueError(f"{hidden(text)!r} names no organisation and bucket; {_FORMS[kind]}")
    return StoreUrl(text, kind, http, org=names[0], bucket=names[1])
