"""The site agent: it measures the machine it runs on, and the way to the targets it is given."""

from devices.agent.run import AgentOptions, Target, parse_target, run_agent

__all__ = ["AgentOptions", "Target", "parse_target", "run_agent"]
