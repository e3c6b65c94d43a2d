"""The commands, and what a person sees when something is wrong: one sentence each, never a traceback."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

import typer

from collector.cli import (
    agent,
    alerts,
    backup,
    doctor,
    inventory,
    load,
    rejects,
    rules,
    serve,
    simulate,
    storage,
    token,
    watch,
)
from devices.problems import Faults, Problems

FAULT = 1
"""The exit code of what may pass by itself: the service is started again."""
MISTAKE = 2
"""The exit code for a mistake that only a person can mend: the service is not started again."""

app = typer.Typer(
    name="nagari",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Collector and command centre for a regency's fibre network: from the device to the operator.",
    epilog="A first look: `nagari demo`. Each command explains itself: `nagari COMMAND --help`.",
)
for module in (
    serve,
    agent,
    watch,
    alerts,
    rejects,
    token,
    rules,
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
            typer.echo(f"nagari: {problem}", err=True)
    sys.exit(FAULT if all(isinstance(refusal, Faults) for refusal in refusals) else MISTAKE)


def _leaves(group: ExceptionGroup[Problems]) -> Iterator[Problems]:
    for each in group.exceptions:
        if isinstance(each, ExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
