"""Tokens, roles and sessions. Only hashes are kept: who reads the file cannot log in with it."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Literal, cast, get_args

Role = Literal["viewer", "operator", "engineer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
SESSION_NS = 12 * 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking."""

    name: str
    role: Role
    token_id: int

    def may(self, role: Role) -> bool:
        """Whether this role or a higher one is held: viewer < operator < engineer < admin."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it may be shown: its first characters, never the whole. Times in epoch ns."""

    id: int
    name: str
    role: Role
    prefix: str
    created: int
    expires: int | None
    revoked: int | None


def create_token(con: sqlite3.Connection, role: Role, name: str, now: int, expires: int | None) -> str:
    """The new token, to be shown once. Raises ValueError for a role that does not exist, or no name."""
    if role not in ROLES:
        raise ValueError(f"{role!r} is no role; choose one of {', '.join(ROLES)}")
    if not name.strip() or not name.isprintable() or len(name) > 64:
        raise ValueError(f"{name!r} is no name; give 1 to 64 printable characters")
    token = secrets.token_urlsafe(32)
    con.execute(
        "insert into tokens (name, role, hash, prefix, created, expires) values (?, ?, ?, ?, ?, ?)",
        [name, role, _hash(token), token[:6], now, expires],
    )
    return token


def principal(con: sqlite3.Connection, token: str, now: int) -> Principal | None:
    """Whose token it is; None if it is unknown, revoked or past its time."""
    row = con.execute(
        "select id, name, role from tokens where hash = ? and revoked is null "
        "and (expires is null or expires > ?)",
        [_hash(token), now],
    ).fetchone()
    return _principal(row) if row else None


def revoke(con: sqlite3.Connection, token_id: int, now: int) -> bool:
    """End the token and its sessions; whether there was a live one."""
    con.execute("delete from sessions where token = ?", [token_id])
    done = con.execute("update tokens set revoked = ? where id = ? and revoked is null", [now, token_id])
    return done.rowcount > 0


def tokens(con: sqlite3.Connection) -> list[Token]:
    """All tokens, also ended ones, oldest first."""
    rows = con.execute("select id, name, role, prefix, created, expires, revoked from tokens order by id")
    return [Token(**dict(row)) for row in rows]


def create_session(con: sqlite3.Connection, who: Principal, now: int) -> str:
    """A secret for the cookie, good for 12 hours or as long as the token is."""
    con.execute("delete from sessions where expires <= ?", [now])
    secret = secrets.token_urlsafe(32)
    con.execute(
        "insert into sessions (hash, token, created, expires) values (?, ?, ?, ?)",
        [_hash(secret), who.token_id, now, now + SESSION_NS],
    )
    return secret


def session(con: sqlite3.Connection, secret: str, now: int) -> Principal | None:
    """Whose session it is; None if it has ended, or its token has."""
    row = con.execute(
        "select tokens.id, name, role from sessions join tokens on tokens.id = sessions.token "
        "where sessions.hash = ? and sessions.expires > ? and revoked is null "
        "and (tokens.expires is null or tokens.expires > ?)",
        [_hash(secret), now, now],
    ).fetchone()
    return _principal(row) if row else None


def end_session(con: sqlite3.Connection, secret: str) -> None:
    """Log out."""
    con.execute("delete from sessions where hash = ?", [_hash(secret)])


def _principal(row: sqlite3.Row) -> Principal:
    return Principal(row["name"], cast(Role, row["role"]), row["id"])


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
