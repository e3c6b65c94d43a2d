"""What the collector knows beside readings: alerts, outbox, users, audit, regions in SQLite; snapshots."""

from collector.state.alerts import AlertRow, body
from collector.state.audit import AuditRow
from collector.state.decisions import DecisionRow
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
    "DecisionRow",
    "OutboxRow",
    "Principal",
    "Role",
    "Snapshots",
    "State",
    "StateError",
    "Token",
    "body",
]
