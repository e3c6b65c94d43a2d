"""What the collector knows beside readings: alerts, outbox, users, audit, regions in SQLite; snapshots."""

from collector.state.alerts import AlertRow, TrailRow, body
from collector.state.audit import AuditRow
from collector.state.errors import StateError
from collector.state.outbox import Consumer, OutboxRow
from collector.state.snapshots import Snapshots
from collector.state.state import State
from collector.state.users import ROLES, Principal, Role, Token

__all__ = [
    "ROLES",
    "AlertRow",
    "AuditRow",
    "Consumer",
    "OutboxRow",
    "Principal",
    "Role",
    "Snapshots",
    "State",
    "StateError",
    "Token",
    "TrailRow",
    "body",
]
