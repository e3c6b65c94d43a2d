"""What state.db says when it does not do its part, in words that need no SQLite."""

from __future__ import annotations

import functools
import inspect
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_Class = TypeVar("_Class", bound=type)


class StateError(Exception):
    """state.db could not do what was asked. `permanent`: the same again will fail again.

    Otherwise (locked, the disk full or failing) try again: nothing of a failed write is kept. `full`: its
    disk has no room. `damaged`: the file is not sound.
    """

    def __init__(
        self, what: str, *, permanent: bool = False, full: bool = False, damaged: bool = False
    ) -> None:
        self.permanent = permanent
        self.full = full
        self.damaged = damaged
        super().__init__(what)

    @classmethod
    def of(cls, error: sqlite3.Error) -> StateError:
        """What SQLite's error means."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return cls(
            str(error),
            permanent=not isinstance(error, sqlite3.OperationalError),
            full=code == sqlite3.SQLITE_FULL,
            damaged=code in _DAMAGED,
        )


def without_sqlite(told: Callable[[Any, sqlite3.Error], StateError]) -> Callable[[_Class], _Class]:
    """A class's decorator: no method lets SQLite's errors out; `told` makes them what is raised instead."""

    def decorate(cls: _Class) -> _Class:
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method):
                setattr(cls, name, _guarded(method, told))
        return cls

    return decorate


def _guarded(
    method: Callable[..., Any], told: Callable[[Any, sqlite3.Error], StateError]
) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            raise told(self, error) from error

    return call
