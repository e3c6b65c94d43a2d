"""The program's only entry: `nagari`."""

from collector.cli.main import main

__all__ = ["main"]
