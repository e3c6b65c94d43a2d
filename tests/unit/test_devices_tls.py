"""What our clients offer under TLS."""

from __future__ import annotations

import ssl

from devices.tls import client_context


def test_every_suite_offered_is_authenticated_encryption() -> None:
    context = client_context()
    offered = context.get_ciphers()
    assert {cipher["protocol"] for cipher in offered} == {"TLSv1.2", "TLSv1.3"}
    assert all(cipher["aead"] for cipher in offered)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
