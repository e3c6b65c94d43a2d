"""The broker: the settings it is shipped with, and a way to start one here (the demo, the tests)."""

from collector.broker.run import (
    EmbeddedBroker,
    LocalBroker,
    Mosquitto,
    find_mosquitto,
    free_port,
    start_broker,
)
from collector.broker.settings import SHIPPED

__all__ = [
    "SHIPPED",
    "EmbeddedBroker",
    "LocalBroker",
    "Mosquitto",
    "find_mosquitto",
    "free_port",
    "start_broker",
]
