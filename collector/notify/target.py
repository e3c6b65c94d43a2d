"""Guards webhooks against SSRF: a host is resolved once, checked, and the checked address is used."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

from collector.notify.channel import NotSent

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LookUp = Callable[[str, int], Awaitable[list[str]]]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def public(address: Address) -> bool:
    """Whether the address is globally routable. An IPv4 address embedded in an IPv6 one is judged as IPv4."""
    inner = _inner(address)
    if inner is not None:
        return public(inner)
    return address.is_global and not (
        address.is_multicast
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_reserved
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    )


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    oldest = 1 < int(address) < 2**32  # ::a.b.c.d
    if address in _NAT64 or oldest:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host name. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def pick(host: str, port: int, *, allow_private: bool, resolver: LookUp = resolve) -> str:
    """The one address to connect to. Raises NotSent if the name has none, or any that is not allowed."""
    try:
        addresses = await resolver(host, port)
    except OSError as error:
        raise NotSent(f"{host} cannot be resolved ({error.strerror or error})") from None
    if not addresses:
        raise NotSent(f"{host} has no address")
    for text in addresses:
        # One bad address refuses the name: it would be taken sooner or later.
        if not allow_private and not public(ipaddress.ip_address(text.split("%", 1)[0])):
            raise NotSent(
                f"{host} leads to {text}, which is not on the open internet; set allow_private to allow it"
            )
    return addresses[0]
