"""Every error in one shape: {"error", "where", "mend"}."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from collector.state import StateError
from collector.store.base import StoreError
from devices.problems import Problems

_log = logging.getLogger(__name__)


class ApiError(Exception):
    """An answer other than 2xx: its status, what is wrong, where, and what would be right."""

    def __init__(
        self, status: int, error: str, where: str, mend: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "where": where, "mend": mend}
        self.headers = headers


_KNOWN = {
    404: ("there is nothing at this address", "the addresses are listed at /api/openapi.json"),
    405: ("this address does not take that method", "the methods are listed at /api/openapi.json"),
    413: ("the body is too large", "send at most 64 KiB"),
}


def install(app: FastAPI) -> None:
    """Let every error of the application take the one shape."""
    app.add_exception_handler(ApiError, _refusal)
    app.add_exception_handler(Problems, _problems)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(StateError, _state)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _broken)


def answer(
    status: int, error: str, where: str, mend: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error's answer."""
    body = {"error": error, "where": where, "mend": mend}
    return JSONResponse(body, status, dict(headers) if headers else None)


def shown(text: str) -> str:
    """Text from outside as a log may have it: short, and without anything that moves a cursor."""
    return text.encode("unicode_escape").decode()[:200]


def _refusal(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return answer(error.status, headers=error.headers, **error.body)


def _problems(_: Request, error: Exception) -> JSONResponse:
    # The collector cannot take it now: the journal is full, paused or stopping.
    assert isinstance(error, Problems)
    first = error.problems[0]
    return answer(503, first.what, first.where, first.mend, {"Retry-After": "5"})


def _store(_: Request, error: Exception) -> JSONResponse:
    _log.warning("the store cannot answer: %s", error)
    mend = "try again; live alerts are not affected"
    return answer(503, "the time-series store cannot answer now", "store", mend, {"Retry-After": "5"})


def _state(_: Request, error: Exception) -> JSONResponse:
    _log.error("state.db cannot answer: %s", error)
    mend = "try again, and see the collector's log"
    return answer(503, "state.db cannot answer now", "state", mend, {"Retry-After": "5"})


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return answer(422, "the body is not JSON", "body", "send a JSON object")
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    what = str(first["msg"]).removeprefix("Value error, ")
    return answer(422, what + more, where, "see the schema at /api/openapi.json")


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    what, mend = _KNOWN.get(error.status_code, (str(error.detail), "see /api/openapi.json"))
    return answer(error.status_code, what, f"{request.method} {shown(request.url.path)}", mend, error.headers)


def _broken(request: Request, error: Exception) -> JSONResponse:
    where = f"{request.method} {shown(request.url.path)}"
    _log.error("%s failed", where, exc_info=error)
    return answer(
        500, "the collector failed to answer; the fault is ours", where, "see its log, and report it"
    )
