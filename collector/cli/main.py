"""The commands, and what a person sees when something is wrong: one sentence each, never a traceback."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from typing import Annotated, NoReturn

import typer

from collector.cli import (
    agent,
    alerts,
    backup,
    doctor,
    inventory,
    load,
    rejects,
    replay,
    rules,
    serve,
    simulate,
    storage,
    token,
    watch,
)
from collector.core.inert import inert
from devices.problems import Faults, Problems

FAULT = 1
"""The exit code of what may pass by itself: the service is started again."""
MISTAKE = 2
"""The exit code for a mistake that only a person can mend: the service is not started again."""
_PUBLIC = frozenset({"inventory", "load"})
"""They write region folders, which are shared; what all others write is for its owner alone."""

app = typer.Typer(
    name="nagari",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Collector and command centre for a regency's fibre network: from the device to the operator.",
    epilog="A first look: `nagari demo`. Each command explains itself: `nagari COMMAND --help`.",
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"nagari {version('nagari')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Which version this is.")
    ] = False,
) -> None:
    pass


for module in (
    serve,
    agent,
    watch,
    alerts,
    rejects,
    token,
    rules,
    replay,
    inventory,
    storage,
    doctor,
    backup,
    simulate,
    load,
):
    module.add(app)


def main() -> None:
    """Run the command line. Exit codes: 0 well, 1 a fault, or the answer is no (doctor), 2 a mistake."""
    if not _PUBLIC.intersection(sys.argv[1:2]):
        os.umask(0o077)  # readings, tokens and accounts are nobody else's
    try:
        _run()
    except SystemExit as end:
        _leave_at_once(end)
        raise
    except Exception:
        sys.excepthook(*sys.exc_info())
        _leave_at_once(SystemExit(FAULT))
        sys.exit(FAULT)


def _run() -> None:
    try:
        app()
    except Problems as problems:
        _complain([problems])
    except ExceptionGroup as group:
        ours, others = group.split(Problems)
        if ours is None or others is not None:
            raise
        _complain(list(_leaves(ours)))
    except BrokenPipeError:  # `nagari alerts | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _leave_at_once(end: SystemExit) -> None:
    """Without the interpreter's own way out: it waits for threads, of which one may hang in a store.

    DuckDB 2.0's binding also prints a page about itself there.
    """
    if "duckdb" in sys.modules and (end.code is None or isinstance(end.code, int)):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)


def _complain(refusals: list[Problems]) -> NoReturn:
    for refusal in refusals:
        for problem in refusal.problems:
            typer.echo(f"nagari: {inert(str(problem))}", err=True)
    sys.exit(FAULT if all(isinstance(refusal, Faults) for refusal in refusals) else MISTAKE)


def _leaves(group: ExceptionGroup[Problems]) -> Iterator[Problems]:
    for each in group.exceptions:
        if isinstance(each, ExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
