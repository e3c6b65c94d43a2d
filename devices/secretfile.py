"""Secrets live in files that only their owner can read."""

from __future__ import annotations

from pathlib import Path

from devices.problems import Problems


def read_secret(file: Path) -> str:
    """The secret in a file, without blanks around it. Raises Problems: unreadable, empty, open to others."""
    try:
        if file.stat().st_mode & 0o077:
            raise Problems.one(str(file), "others can read this secret", f"chmod 600 {file}")
        secret = file.read_text("utf-8").strip()
    except OSError as error:
        what = f"the secret cannot be read ({error.strerror})"
        raise Problems.one(str(file), what, "create it, mode 0600") from None
    if not secret:
        raise Problems.one(str(file), "the secret is empty", "write it into the file")
    return secret
