from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.notify.channel import NotSent
from collector.notify.target import pick, public

PRIVATE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1",
    "fd12::1", "ff02::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_the_house_is_not_public(address: str) -> None:
    assert not public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_open_internet_is_public(address: str) -> None:
    assert public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv6_disguise_changes_nothing(address: ipaddress.IPv4Address) -> None:
    if int(address) > 1:
        for prefix in ("::ffff:", "64:ff9b::"):
            assert public(ipaddress.ip_address(f"{prefix}{address}")) == public(address)


async def test_a_name_that_leads_inside_is_refused_and_the_mend_is_named() -> None:
    async def resolver(_host: str, _port: int) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    with pytest.raises(NotSent, match=r"hooks\.example leads to 127\.0\.0\.1.*allow_private") as refused:
        await pick("hooks.example", 443, allow_private=False, resolver=resolver)
    assert not refused.value.permanent, (
        "a name server that lies for an hour must not lose the alerts of that hour"
    )


async def test_the_address_that_was_checked_is_the_one_given() -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"]]

    async def resolver(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    assert await pick("hooks.example", 443, allow_private=False, resolver=resolver) == "93.184.216.34"
    assert answers == [["127.0.0.1"]], "it must ask only once"


async def test_a_name_without_an_address_is_worth_another_try() -> None:
    with pytest.raises(NotSent, match=r"nothing\.invalid") as refused:
        await pick("nothing.invalid", 80, allow_private=True)
    assert not refused.value.permanent
