"""The real program; the PART breaks while the FILE exists that NAGARI_TEST_BREAK names: PART=FILE."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from collector import app
from collector.cli.main import main
from collector.ingest import files, recorder
from collector.operation import reloading, selfwatch
from collector.state import State
from collector.storage import keeper
from collector.store.duckdb import DuckStore
from collector.supervision import watchdog

PART, _, FLAG = os.environ["NAGARI_TEST_BREAK"].partition("=")


def fail(*_: object) -> None:
    raise RuntimeError("broken by the test")


def eio(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def hang(*_: object) -> None:
    threading.Event().wait()


BREAKS: dict[str, tuple[Any, str, Callable[..., None]]] = {
    "journal": (files, "write_all", eio),
    "storing": (DuckStore, "commit", fail),
    "alarming": (State, "commit", fail),
    "ingest": (recorder.Recorder, "cover", fail),
    "keeper": (keeper.Keeper, "tried_to_look", fail),
    "selfwatch": (selfwatch.SelfWatch, "look", fail),
    "housekeeping": (State, "prune_outbox", fail),
    "http": (uvicorn.Server, "on_tick", fail),
    "reload": (reloading.Reloading, "renew", fail),
    "main loop hangs": (selfwatch.SelfWatch, "look", hang),
    "ingest hangs": (recorder.Recorder, "cover", hang),
    "journal hangs": (files, "write_all", hang),
    "alarming hangs": (State, "commit", hang),
    "storing hangs": (DuckStore, "commit", hang),
}


def break_it(place: Any, name: str, broken: Callable[..., None]) -> None:
    whole = getattr(place, name)

    def either(*args: Any, **more: Any) -> Any:
        if Path(FLAG).exists():
            broken(*args)
        return whole(*args, **more)

    async def either_async(*args: Any, **more: Any) -> Any:
        return await either(*args, **more)

    setattr(place, name, either_async if name == "on_tick" else either)


if __name__ == "__main__":
    app.HOUSEKEEPING = keeper.EVERY = selfwatch.REPEAT = 0.5
    watchdog.Stuck.__init__.__defaults__ = (2.0,)
    break_it(*BREAKS[PART])
    main()
