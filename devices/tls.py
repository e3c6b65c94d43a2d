"""TLS as every client of ours speaks it: 1.2 or newer, no CBC, the broker's certificate always checked."""

from __future__ import annotations

import ssl
from pathlib import Path

from devices.problems import Problems

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption. TLS 1.3 has nothing else."""


def client_context(
    ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Trusts `ca` (none: the system's authorities), shows `cert`. Raises Problems where a file is no use."""
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:
        files = ", ".join(str(file) for file in (ca, cert, key) if file)
        raise Problems.one(files, f"the certificates cannot be used ({error})", "name PEM files") from None
    return context
