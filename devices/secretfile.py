"""Files that only their owner can read: secrets, and what must outlive a restart."""

from __future__ import annotations

import os
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


def write_private(file: Path, text: str) -> None:
    """Replace the file by this text, mode 0600, whole and on disk before this returns. Raises OSError."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
