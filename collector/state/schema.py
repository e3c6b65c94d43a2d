"""state.db's tables. A change is a further migration at the end; one that was released is never edited."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from devices.problems import Problems

_V1 = """
create table position (
    one    integer primary key check (one = 1),
    cursor integer not null            -- alarming has taken in the journal up to here
) strict;
insert into position values (1, 0);

create table alerts (
    id            text primary key,
    rule          text not null,
    rule_version  text not null,
    site          text not null,
    device        text not null,
    metric        text not null,
    severity      text not null check (severity in ('critical', 'major', 'minor', 'warning')),
    condition     text not null check (condition in ('pending', 'active', 'cleared')),
    at            integer not null,    -- every time is epoch ns
    value         real,
    count         integer not null,
    acked         integer not null check (acked in (0, 1)),
    holds         text not null,       -- JSON array
    raised_at     integer,
    cleared_at    integer,
    shelved_until integer,
    assignee      text not null,
    summary       text not null        -- JSON: language -> sentence
) strict;
create index alerts_newest on alerts (at desc, id desc);
create index alerts_by_condition on alerts (condition, at desc, id desc);
create index alerts_open on alerts (at desc, id desc)
    where (condition = 'active' or (condition = 'cleared' and acked = 0));
create index alerts_by_site on alerts (site, at desc, id desc);

create table transitions (
    seq     integer primary key,
    kind    text not null,
    at      integer not null,
    "offset" integer not null,
    alert   text not null,             -- '' where there was none
    after   text,                      -- the alert after it, JSON
    by      text not null,
    comment text not null,
    action  text not null
) strict;
create index transitions_by_alert on transitions (alert, seq);
create index transitions_by_action on transitions (action) where action <> '';

create table outbox (
    seq     integer primary key autoincrement,  -- never reused: the stream resumes by it
    kind    text not null,
    change  text not null,             -- the transition's kind
    at      integer not null,
    by      text not null,
    comment text not null,
    body    text not null              -- JSON as the API gives it
) strict;

create table consumers (
    name text primary key,
    seq  integer not null              -- consumed up to and with this one
) strict;

create table tokens (
    id      integer primary key,
    name    text not null,
    role    text not null check (role in ('viewer', 'operator', 'engineer', 'admin')),
    hash    blob not null unique,      -- sha256; the token itself is nowhere
    prefix  text not null,
    created integer not null,
    expires integer,
    revoked integer
) strict;

create table sessions (
    hash    blob primary key,
    token   integer not null references tokens (id) on delete cascade,
    created integer not null,
    expires integer not null
) strict;

create table audit (
    seq    integer primary key,
    at     integer not null,
    who    text not null,
    what   text not null,
    detail text not null,
    hash   blob not null               -- HMAC-SHA256 over the hash before it and this row: audit.py
) strict;
create trigger audit_keeps_what_it_has before update on audit
begin select raise(abort, 'the audit is append-only'); end;
create trigger audit_loses_nothing before delete on audit
begin select raise(abort, 'the audit is append-only'); end;
create table audit_head (
    one  integer primary key check (one = 1),
    seq  integer not null,
    hash blob not null
) strict;
insert into audit_head values (1, 0, x'');

create table contents (
    hash blob primary key,             -- sha256 of the file as it was
    data blob not null                 -- zlib
) strict;
create table region_files (
    region  text not null,
    name    text not null,
    content blob not null references contents (hash),
    primary key (region, name)
) strict;
create table regions (
    hash text primary key
) strict;
"""

_DECISIONS = """
create table decisions (
    seq      integer primary key,      -- rises in the order of commitment
    kind     text not null,            -- alert, presence, gap, event, answer …
    change   text not null,            -- what became of it: raised, online …
    at       integer not null,
    "offset" integer not null,
    subject  text not null,            -- the thing's id; '' where there was none
    after    text,                     -- the thing after it, JSON
    reason   text not null,
    evidence text not null,            -- JSON
    by       text not null,
    comment  text not null,
    action   text not null
) strict;
insert into decisions
    select seq, 'alert', kind, at, "offset", alert, after, '', '{}', by, comment, action from transitions;
drop table transitions;
drop index alerts_open;
create index alerts_open on alerts (at desc, id desc)
    where (condition = 'active' or (acked = 0 and count > 0));
create index decisions_by_subject on decisions (kind, subject, seq);
create index decisions_by_action on decisions (action) where action <> '';
"""


_DELIVERIES = """
create table deliveries (              -- outbox rows that a channel failed to deliver and tries again
    channel text not null,
    seq     integer not null references outbox (seq) on delete cascade,
    tries   integer not null,
    why     text not null,             -- the last failure
    primary key (channel, seq)
) strict, without rowid;
create index deliveries_by_row on deliveries (seq);
"""

MIGRATIONS = (_V1, _DECISIONS, _DELIVERIES)


def migrate(con: sqlite3.Connection, file: Path, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring the file up to this version's tables, each step whole or not at all. Raises Problems."""
    while True:
        version = con.execute("pragma user_version").fetchone()[0]
        if version > len(migrations):
            what = f"was written by a newer collector (schema {version}, this one knows {len(migrations)})"
            raise Problems.one(str(file), what, "install that version, or choose another data.dir")
        if version == len(migrations):
            return
        con.execute("begin immediate")
        try:
            if con.execute("pragma user_version").fetchone()[0] == version:  # nobody was first
                for statement in _statements(migrations[version]):
                    con.execute(statement)
                con.execute(f"pragma user_version = {version + 1}")
            con.execute("commit")
        except BaseException:
            con.execute("rollback")
            raise


def _statements(script: str) -> list[str]:
    """Split, since executescript would commit on its own."""
    found, start = [], 0
    for end, char in enumerate(script):
        if char == ";" and sqlite3.complete_statement(script[start : end + 1]):
            found.append(script[start : end + 1])
            start = end + 1
    return found
