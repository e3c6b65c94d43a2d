"""What an operator's action does to an alert, or why it does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from collector.alarms.alarm import Alarm
from collector.alarms.model import Alert, TransitionKind
from collector.core.records import Action

SHELVE_DEFAULT_S = 3600.0
SHELVE_MAX_S = 7 * 86400.0
_NS = 1_000_000_000


class Refused(Exception):  # noqa: N818 (a decision, not a failure)
    """The action makes no sense; the text says why."""


def act(alarm: Alarm, action: Action, now: int) -> TransitionKind:
    """Change the alarm's alert as asked; says what became of it. Raises Refused, with nothing changed."""
    doing = _ACTIONS.get(action.name)
    if doing is None:
        raise Refused(f"{action.name} is no action; one of {', '.join(_ACTIONS)}")
    if alarm.alert is None:
        raise Refused("it is over: cleared and acknowledged")
    return doing(alarm, alarm.alert, action, now)


def unshelve(alarm: Alarm) -> bool:
    """End the shelving, if there is one; says whether an alert changed by it."""
    alarm.shelved_until = 0
    alert = alarm.alert
    if alert is None or "shelved" not in alert.holds:
        return False
    alarm.alert = alert.but(
        holds=tuple(hold for hold in alert.holds if hold != "shelved"), shelved_until=None
    )
    return True


def _ack(alarm: Alarm, alert: Alert, action: Action, now: int) -> TransitionKind:
    if not alert.count:
        raise Refused("it is pending and was not raised yet: there is nothing to acknowledge")
    if alert.acked:
        raise Refused("it is acknowledged already")
    alarm.alert = alert.but(acked=True)
    return "acked"


def _unack(alarm: Alarm, alert: Alert, action: Action, now: int) -> TransitionKind:
    if not alert.acked:
        raise Refused("it is not acknowledged")
    alarm.alert = alert.but(acked=False)
    return "unacked"


def _shelve(alarm: Alarm, alert: Alert, action: Action, now: int) -> TransitionKind:
    seconds = (action.args or {}).get("seconds", SHELVE_DEFAULT_S)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= SHELVE_MAX_S:
        raise Refused(f"seconds must be a number above 0 and at most {SHELVE_MAX_S:.0f}, which is 7 days")
    alarm.shelved_until = now + max(1, round(seconds * _NS))
    holds = tuple(sorted({*alert.holds, "shelved"}))
    alarm.alert = alert.but(holds=holds, shelved_until=alarm.shelved_until)
    return "shelved"


def _unshelve(alarm: Alarm, alert: Alert, action: Action, now: int) -> TransitionKind:
    if not unshelve(alarm):
        raise Refused("it is not shelved")
    return "unshelved"


def _comment(alarm: Alarm, alert: Alert, action: Action, now: int) -> TransitionKind:
    if not action.comment.strip():
        raise Refused("the comment is empty")
    return "commented"


def _assign(alarm: Alarm, alert: Alert, action: Action, now: int) -> TransitionKind:
    to = (action.args or {}).get("to")
    if not isinstance(to, str) or not to.strip():
        raise Refused("to must name whom it is assigned to")
    alarm.alert = alert.but(assignee=to.strip())
    return "assigned"


_ACTIONS: Mapping[str, Callable[[Alarm, Alert, Action, int], TransitionKind]] = {
    "ack": _ack,
    "unack": _unack,
    "shelve": _shelve,
    "unshelve": _unshelve,
    "comment": _comment,
    "assign": _assign,
}
