"""The mosquitto settings on which nothing is lost. deploy/mosquitto/mosquitto.conf says why of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SHIPPED: Mapping[str, str] = {
    "persistence": "true",
    "autosave_on_changes": "false",
    "autosave_interval": "1",
    "max_queued_messages": "0",
    "max_queued_bytes": "0",
    "max_inflight_messages": "2000",
    "persistent_client_expiration": "14d",
    "message_size_limit": "2097152",
    "max_packet_size": "2228224",
    "max_keepalive": "300",
    "set_tcp_nodelay": "true",
}
"""As in deploy/mosquitto/mosquitto.conf, without its accounts and paths (a test holds the two together)."""


def loopback(folder: Path, port: int, **changes: str) -> str:
    """A mosquitto.conf for this machine alone: shipped settings, no accounts, everything kept in `folder`.

    `changes` replace settings; an empty value leaves one out.
    """
    settings = {
        **SHIPPED,
        "persistence_location": f"{folder}/",
        "user": "root",  # heeded only when root starts it: otherwise it becomes one who cannot write here
        "log_dest": f"file {folder}/mosquitto.log",
        "listener": f"{port} 127.0.0.1",
        "allow_anonymous": "true",
        **changes,
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items() if value)
