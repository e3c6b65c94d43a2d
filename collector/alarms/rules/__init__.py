"""The region's rule files: what may stand in them, what is wrong with them, and which rule holds where."""

from collector.alarms.rules.read import parse_rules
from collector.alarms.rules.ruleset import Rule, RuleSet

__all__ = ["Rule", "RuleSet", "parse_rules"]
