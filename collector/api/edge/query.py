"""A key in the address that the route does not know is refused: misspelt, it would be ignored in silence."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from collector.api.edge.errors import ApiError, shown


async def known_query(request: Request) -> None:
    """A dependency of every route. Raises ApiError 422 that names the keys there are."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = _keys(route)
    for key in request.query_params:
        if key not in known:
            mend = f"the keys are {', '.join(known)}" if known else "this address takes no keys"
            raise ApiError(422, "there is no such key here", f"query.{shown(key)}", mend)


def _keys(route: APIRoute) -> tuple[str, ...]:
    params = get_flat_params(route.dependant)
    return tuple(param.alias for param in params if isinstance(param.field_info, Query))
