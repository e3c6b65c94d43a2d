"""`nagari token`: API tokens, kept in state.db; works while the collector runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collector.cli.options import CONFIG, AsJson, ConfigFile

if TYPE_CHECKING:
    from collector.state import State, Token

token = typer.Typer(
    no_args_is_help=True, help="API tokens: create, list, revoke. The collector may run meanwhile."
)


class RoleChoice(StrEnum):
    """Roles in rising order: each has the rights of those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"


@token.command(
    "create", epilog="Example: `nagari token create --role operator --name siti --out siti.token --days 365`"
)
def create(
    role: Annotated[RoleChoice, typer.Option(help="viewer sees; operator acts on alerts; engineer; admin.")],
    name: Annotated[str, typer.Option(help="Whose it is: stands in the trail of what was done.")] = "",
    days: Annotated[
        float | None, typer.Option(help="How many days it holds; else for ever.", min=0.001)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it there, mode 0600, not here.")] = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Make a token and print it: it is shown this once and kept only as a hash."""
    with _state(config) as state:
        secret = _create(state, name or role.value, role.value, days)
    if out is None:
        typer.echo(secret)
    else:
        write_secret(out, secret)
        typer.echo(f"{out}: token for {name or role.value}, {role.value}")


@token.command("list", epilog="Example: `nagari token list --json`")
def list_tokens(
    config: ConfigFile = CONFIG,
    as_json: AsJson = False,
) -> None:
    """All tokens, also ended ones: whose, which role, since when. Never the tokens themselves."""
    from dataclasses import asdict  # noqa: PLC0415 (loaded by the command that needs it)

    from collector.cli import show  # noqa: PLC0415

    with _state(config) as state:
        found = [{**asdict(each), **_times(each)} for each in state.list_tokens()]
    if as_json:
        show.print_json({"tokens": found})
        return
    rows = (
        (
            str(each["id"]),
            each["name"],
            each["role"],
            f"{each['prefix']}…",
            show.when(each["created"]),
            _ended(each),
        )
        for each in found
    )
    show.print_table(("id", "name", "role", "begins with", "created", "ended"), rows, "no tokens yet")


@token.command(
    "revoke", epilog="Example: `nagari token revoke 3`, with the id that `nagari token list` shows"
)
def revoke(
    number: Annotated[int, typer.Argument(metavar="ID", help="The id from `nagari token list`.")],
    config: ConfigFile = CONFIG,
) -> None:
    """End a token and its sessions at once."""
    from devices.problems import Problems  # noqa: PLC0415

    with _state(config) as state:
        now = time.time_ns()
        if not state.revoke(number, now):
            raise Problems.one(f"token {number}", "there is no live one", "see `nagari token list`")
        state.audit(now, _me(), "token.revoke", {"id": number})
    typer.echo(f"token {number} is revoked")


def write_secret(file: Path, secret: str) -> None:
    """Write a secret so that only its owner can ever read it. Raises Problems."""
    import os  # noqa: PLC0415

    from devices.problems import Problems  # noqa: PLC0415

    try:
        file.unlink(missing_ok=True)  # an older file may be open to others
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(secret + "\n")
    except OSError as error:
        raise Problems.one(str(file), f"cannot be written ({error.strerror})", "name another file") from None


def _create(state: State, name: str, role: str, days: float | None) -> str:
    from devices.problems import Problems  # noqa: PLC0415

    now = time.time_ns()
    expires = None if days is None else now + int(days * 86400 * 1e9)
    try:
        secret = state.create_token(role, name, now, expires)  # type: ignore[arg-type]
    except ValueError as error:
        what, _, mend = str(error).partition("; ")
        raise Problems.one("--name", what, mend) from None
    state.audit(now, _me(), "token.create", {"role": role, "name": name})
    return secret


@contextmanager
def _state(file: Path) -> Iterator[State]:
    from collector.core.config import load  # noqa: PLC0415
    from collector.state import State  # noqa: PLC0415

    state = State(load(file).data.dir / "state.db")
    try:
        yield state
    finally:
        state.close()


def _times(token: Token) -> dict[str, int | None]:
    """When it was created, expires and was revoked, epoch ms; None where it does not apply."""
    times = {"created": token.created, "expires": token.expires, "revoked": token.revoked}
    return {name: None if ns is None else ns // 1_000_000 for name, ns in times.items()}


def _created(token: dict[str, Any]) -> str:
    from collector.cli import show  # noqa: PLC0415

    return show.when(token["created"])


def _ended(token: dict[str, Any]) -> str:
    from collector.cli import show  # noqa: PLC0415

    if token["revoked"]:
        return f"revoked {show.when(token['revoked'])}"
    if token["expires"]:
        return (
            f"{'expired' if token['expires'] < time.time() * 1000 else 'until'} {show.when(token['expires'])}"
        )
    return ""


def _me() -> str:
    import getpass  # noqa: PLC0415

    return f"cli:{getpass.getuser()}"


def add(app: typer.Typer) -> None:
    """Put the commands into the program."""
    app.add_typer(token, name="token", rich_help_panel="For whoever runs it")
