"""`nagari watch`: the live alert stream in a terminal."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collector.cli.options import URL, Lang, TokenFile, Url
from devices.backoff import backoff

if TYPE_CHECKING:
    from collector.cli.api import Api
    from collector.cli.events import Event

EPILOG = """
Examples:

`nagari watch --token-file demo-data/token`

`nagari watch --lang id`

`nagari watch --json | jq 'select(.event == "alert")'`

A lost connection is taken up again where it broke off. Ctrl-C ends it.
"""
_FIRST_S, _MOST_S = 0.5, 10.0


def watch(
    url: Url = URL,
    token_file: TokenFile = None,
    lang: Lang = "en",
    for_s: Annotated[float | None, typer.Option("--for", help="End after so many seconds.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object per line.")] = False,
) -> None:
    """Alerts as they happen, with the accounts below: what was received, stored, refused."""
    from collector.cli.api import Api, find_token  # noqa: PLC0415 (loaded by the command that needs it)

    api = Api(url, find_token(token_file))
    end = time.monotonic() + for_s if for_s else float("inf")
    screen = _Lines() if as_json else _Screen(lang)
    with screen:
        screen.begin(api)
        _follow(api, screen, end)


class _Lines:
    """Every event as a line of JSON."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, api: Api) -> None:
        for alert in api.pages("alerts", "alerts", 10_000, state="active"):
            self._print("alert", alert)

    def show(self, event: Event) -> None:
        self._print(event.name, event.data)

    def lost(self, why: str, wait: float) -> None:
        typer.echo(f"nagari: connection lost ({why}); again in {wait:.0f} s", err=True)

    def _print(self, name: str, data: object) -> None:
        typer.echo(json.dumps({"event": name, "data": data}, ensure_ascii=False))


class _Screen:
    """Alerts scroll; the accounts stay at the bottom."""

    def __init__(self, lang: str) -> None:
        from rich.live import Live  # noqa: PLC0415

        from collector.cli import show  # noqa: PLC0415

        self._lang = lang
        self._looks = show
        self._console = show.console()
        self._live = Live("", console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> _Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *how: Any) -> None:
        self._live.__exit__(*how)

    def begin(self, api: Api) -> None:
        for alert in sorted(api.pages("alerts", "alerts", 10_000, state="active"), key=lambda one: one["at"]):
            self._alert(alert)

    def show(self, event: Event) -> None:
        if event.name == "alert":
            self._alert(event.data.get("alert", event.data))
        elif event.name == "stats":
            self._stats(event.data)

    def lost(self, why: str, wait: float) -> None:
        from rich.text import Text  # noqa: PLC0415

        line = Text(f"connection lost ({why}); again in {wait:.0f} s", "yellow")
        self._live.update(line, refresh=True)

    def _alert(self, alert: dict[str, Any]) -> None:
        from rich.text import Text  # noqa: PLC0415

        looks, cleared = self._looks, alert["condition"] == "cleared"
        shape, style = looks.CLEARED if cleared else looks.SEVERITY.get(alert["severity"], ("·", ""))
        at = alert.get("cleared_at") if cleared else alert["at"]
        said = looks.plain(looks.summary(alert, self._lang))
        acked = " · acknowledged" if alert["acked"] else ""
        word = "cleared" if cleared else alert["severity"]
        self._console.print(
            Text.assemble(
                (looks.when(at), "dim"),
                (f"  {shape} {word:<9}", style),
                f" {alert['site']}/{alert['device']}  {said}",
                (f"{acked}  {alert['id']}", "dim"),
            )
        )

    def _stats(self, stats: dict[str, Any]) -> None:
        from rich.text import Text  # noqa: PLC0415

        names = ("received", "stored", "duplicate", "quarantined", "dropped", "in_flight")
        said = " · ".join(f"{name.replace('_', ' ')} {stats[name]:,}" for name in names if name in stats)
        ill = {part: why for part, why in (stats.get("health") or {}).items() if why != "ok"}
        line = Text(said, "bold red" if stats.get("dropped") else "bold")
        line.append("".join(f" · ✗ {part}: {why}" for part, why in ill.items()), "bold red")
        self._live.update(line, refresh=True)


def _follow(api: Api, screen: _Lines | _Screen, end: float) -> None:
    import httpx  # noqa: PLC0415

    last, failures = "", 0
    while time.monotonic() < end:
        try:
            for event in _events(api, last):
                last, failures = event.id or last, 0
                screen.show(event)
                if event.name == "reset":  # too long away: what is active now is told anew
                    last = ""
                    screen.begin(api)
                if time.monotonic() >= end:
                    return
            why = "the collector ended it"
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
        wait = backoff(failures, _FIRST_S, _MOST_S)
        failures += 1
        screen.lost(why, wait)
        time.sleep(min(wait, max(0.0, end - time.monotonic())))


def _events(api: Api, last: str) -> Any:
    from collector.cli.events import events  # noqa: PLC0415

    with api.stream(last) as lines:
        yield from events(lines)


def add(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command(epilog=EPILOG, rich_help_panel="For operators")(watch)
