"""The kinds of rules. A new one is a file in this folder and an entry in this table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.alarms.kinds.absent import ABSENT
from collector.alarms.kinds.equals import EQUALS
from collector.alarms.kinds.kind import RuleKind
from collector.alarms.kinds.limit import ABOVE, BELOW

RULE_KINDS: Mapping[str, RuleKind[Any]] = {kind.name: kind for kind in (ABOVE, BELOW, EQUALS, ABSENT)}
"""By name: the key of `when` that chooses the kind."""
