"""Files of history, line by line: CSV, Parquet (by DuckDB's reader) and InfluxDB's line protocol."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from collector.moving import lineprotocol
from collector.moving.reading import Bad, Line
from collector.moving.rows import Checker, Take, table
from devices.problems import Problems

Format = Literal["csv", "parquet", "lines"]
FORMATS: tuple[Format, ...] = get_args(Format)
_ENDS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".lp": "lines", ".line": "lines", ".lines": "lines",
}  # fmt: skip
_ROWS = 10_000  # of a Parquet file in memory at once


def format_of(file: Path, named: str | None) -> Format:
    """The format that was named, or that the file's name tells. Raises Problems."""
    for each in FORMATS:
        if each == named:
            return each
    found = _ENDS.get(file.suffix.lower())
    if named is not None or found is None:
        what = f"{named!r} is no format" if named else "its name does not say what it holds"
        raise Problems.one(str(file), what, f"say --format {', '.join(FORMATS)}")
    return found


def lines(file: Path, form: Format, check: Checker, after: int = 0) -> Iterator[Line]:
    """The file's lines, with number and readings; those up to number `after` are passed over.

    Raises Problems for a file that is none of the kind.
    """
    read = {"csv": _csv, "parquet": _parquet, "lines": _lines}[form]
    try:
        yield from read(file, check, after)
    except OSError as error:
        raise Problems.one(str(file), f"cannot be read ({error.strerror or error})", "name a file") from None


def _csv(file: Path, check: Checker, after: int) -> Iterator[Line]:
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        head = text.readline()
        text.seek(0)
        reader = csv.reader(text, delimiter=max(",;\t", key=head.count), strict=True)
        take, width = None, 0
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Line(reader.line_num, [], [Bad(f"is no CSV ({error})", "mend its quotes")])
                continue
            if take is None:
                take, width = _taking(file, row, check), len(row)
            elif row and reader.line_num > after:
                yield _line(reader.line_num, row, width, take)


def _line(number: int, row: list[str], width: int, take: Take) -> Line:
    if len(row) != width:
        what = f"has {len(row)} cells, the first line has {width}"
        return Line(number, [], [Bad(what, "give it as many, empty ones where there is nothing")])
    return Line(number, *take(row))


def _parquet(file: Path, check: Checker, after: int) -> Iterator[Line]:
    import duckdb  # noqa: PLC0415 (only for this format)

    if not file.is_file():
        raise Problems.one(str(file), "there is no such file", "name one")
    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as con:
        try:
            con.read_parquet(str(file)).create_view("history")
            shown = con.execute("describe history").fetchall()
            take, number = _taking(file, [name for name, *_ in shown], check), 0
            columns = ", ".join(_spoken(name, kind) for name, kind, *_ in shown)
            found = con.execute(f"select {columns} from history")  # noqa: S608 (names are quoted)
            while rows := found.fetchmany(_ROWS):
                for row in rows:
                    number += 1
                    if number > after:
                        yield Line(number, *take(row))
        except duckdb.Error as error:
            what = f"is no Parquet that can be read ({str(error).splitlines()[0]})"
            raise Problems.one(str(file), what, "write it anew, or give it as CSV") from None


def _spoken(name: str, kind: str) -> str:
    """A column as it is asked for: a time with a zone as epoch ms, which needs no further library."""
    quoted = '"' + name.replace('"', '""') + '"'
    return f"epoch_ms({quoted})" if kind == "TIMESTAMP WITH TIME ZONE" else quoted


def _lines(file: Path, check: Checker, after: int) -> Iterator[Line]:
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        for number, line in enumerate(text, 1):
            if number > after:
                yield Line(number, *lineprotocol.parse(line, check))


def _taking(file: Path, header: list[str], check: Checker) -> Take:
    try:
        return table(header, check)
    except ValueError as error:
        what, _, mend = str(error).partition("; ")
        raise Problems.one(f"{file}:1", what, mend) from None
