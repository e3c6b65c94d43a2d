"""The grammar of native topics."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.model import Address, Suffix
from devices.topics import FILTERS, TopicError, build, is_id, parse

IDS = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")


@given(IDS, IDS, st.sampled_from(Suffix))
def test_what_is_built_is_parsed_back(site: str, device: str, suffix: Suffix) -> None:
    address = Address(site, device, suffix)
    assert parse(build(address)) == address


@given(st.text())
def test_any_other_text_is_refused_with_one_line(topic: str) -> None:
    with pytest.raises(TopicError) as refused:
        parse(topic)
    assert 0 < len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("", "does not begin with nagari/v1/"),
        ("nagari/v2/s/d/tele", "does not begin with nagari/v1/"),
        ("/nagari/v1/s/d/tele", "does not begin with nagari/v1/"),
        ("nagari/v1/s/tele", "4 levels"),
        ("nagari/v1/s/d/tele/", "6 levels"),
        ("nagari/v1//d/tele", "the site '' in the topic is no id"),
        ("nagari/v1/s/d d/tele", "the device 'd d' in the topic is no id"),
        ("nagari/v1/s/" + "d" * 65 + "/tele", "in the topic is no id"),
        ("nagari/v1/s/d\x00/tele", "the device 'd\\x00'"),
        ("nagari/v1/s/٣/tele", "the device '٣'"),
        ("nagari/v1/s/d/tele\n", "ends in 'tele\\n'"),
        ("nagari/v1/s/d\n/tele", "the device 'd\\n'"),
        ("nagari/v1/s/d/TELE", "none of tele, state, event, cmd, ack"),
        ("nagari/v1/+/+/tele", "the site '+'"),
    ],
)
def test_a_refusal_says_what_is_wrong(topic: str, reason: str) -> None:
    with pytest.raises(TopicError) as refused:
        parse(topic)
    assert reason in str(refused.value)


def test_an_address_outside_the_grammar_is_not_built() -> None:
    with pytest.raises(TopicError, match="the device 'd/x' is no id"):
        build(Address("s", "d/x", Suffix.TELE))


def test_a_newline_makes_no_id() -> None:
    assert not is_id("router-1\n")
    assert not is_id("")
    assert is_id("1305-kominfo")


def test_the_collector_listens_to_all_but_commands() -> None:
    assert FILTERS == (
        "nagari/v1/+/+/tele",
        "nagari/v1/+/+/state",
        "nagari/v1/+/+/event",
        "nagari/v1/+/+/ack",
    )
