"""The site agent: it measures the machine it runs on, and the way to the targets it is given."""

from devices.agent.run import AgentOptions, ProbeTarget, parse_target, run_agent

__all__ = ["AgentOptions", "ProbeTarget", "parse_target", "run_agent"]
