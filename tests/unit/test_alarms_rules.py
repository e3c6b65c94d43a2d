"""Rule files: what is read out of them, and how what is wrong in them is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.alarms.kinds.absent import Absent
from collector.alarms.kinds.limit import Limit
from collector.alarms.model import Alert
from collector.alarms.rules import Rule, RuleSet, parse_rules
from collector.alarms.rules.ruleset import summary
from collector.alarms.rules.tables import schema
from devices.catalogue import KINDS
from devices.model import Device, Site
from devices.problems import Problems
from devices.region import Region, load, read_folder

S = 1_000_000_000
SHIPPED = Path(__file__).parents[2] / "deploy" / "padang-pariaman"

SITES = (
    Site("130501", "Batang Anai", "district", agency="Camat"),
    Site("1305012001", "Lubuk Alung", "nagari", parent="130501", agency="Nagari", alias=("old-lubuk",)),
    Site("1305-kominfo", "Kominfo", "centre", parent="1305022001"),
    Site("1305022001", "Sikabu", "nagari"),
)
DEVICES = (
    Device("1305012001", "ont-1", "ont", labels={"optics": "c+"}),
    Device("1305022001", "ont-2", "ont"),
    Device("1305-kominfo", "room", "climate"),
)

GOOD = """
[[rule]]
name = "rx-power-low"
select = { kind = "ont", metric = "rx_dbm" }
when = { below = -27.0, clear_above = -26.0, for = "60s", keep = "5m" }
severity = "major"
summary = { id = "Daya optik {value} {unit} di {site}", en = "Optical power {value} {unit} at {site}" }
"""


def region(*devices: Device) -> Region:
    sites = {site.id: site for site in SITES}
    known = {device.id: device for device in devices or DEVICES}
    aliases = {"old-lubuk": "1305012001"}
    return Region("r", "Asia/Jakarta", ("id",), (), "", sites, known, {}, {}, b"", {}, {}, aliases, "h", {})


def rules(text: str) -> RuleSet:
    return parse_rules({"rules/ont.toml": text.encode()}, region())


def only(found: RuleSet, device: str = "ont-1") -> Rule:
    (rule,) = found.for_device(region().devices[device])
    return rule


def selected(select: str) -> set[str]:
    found = rules(GOOD.replace('kind = "ont", metric = "rx_dbm"', f'metric = "rx_dbm", {select}'))
    return {device.id for device in DEVICES if found.for_device(device)}


def told(text: str) -> list[str]:
    with pytest.raises(Problems) as caught:
        rules(text)
    return [str(problem) for problem in caught.value.problems]


def test_the_rule_of_the_design_reads_as_written() -> None:
    rule = only(rules(GOOD))
    assert (rule.name, rule.metric, rule.criterion) == ("rx-power-low", "rx_dbm", Limit(-27.0, -26.0, -1))
    assert (rule.delay, rule.keep, rule.severity) == (60 * S, 300 * S, "major")


def test_absent_true_is_the_kinds_own_patience_and_a_duration_is_that() -> None:
    text = GOOD.replace(', metric = "rx_dbm"', "").replace(
        'below = -27.0, clear_above = -26.0, for = "60s", keep = "5m"', "absent = {}"
    )
    patience = round(KINDS["ont"].stale_after_s * S)
    assert only(rules(text.replace("{}", "true", 1))).criterion == Absent(patience)
    assert only(rules(text.replace("{}", '"1.5m"', 1))).criterion == Absent(90 * S)


@pytest.mark.parametrize(
    ("select", "devices"),
    [
        ('kind = "ont"', {"ont-1", "ont-2"}),
        ('device = "ont-2"', {"ont-2"}),
        ('site = "1305012001"', {"ont-1"}),
        ('site = "old-lubuk"', {"ont-1"}),
        ('area = "130501"', {"ont-1"}),
        ('area = "1305"', {"ont-1", "ont-2"}),
        ('agency = "Nagari"', {"ont-1"}),
        ('labels = { optics = "c+" }', {"ont-1"}),
        ('labels = { optics = "b+" }', set()),
    ],
)
def test_every_key_selects(select: str, devices: set[str]) -> None:
    assert selected(select) == devices


def test_an_area_selects_by_parent_too() -> None:
    text = GOOD.replace('kind = "ont", metric = "rx_dbm"', 'area = "1305022001", metric = "temperature_c"')
    found = rules(text)
    assert [bool(found.for_device(device)) for device in DEVICES] == [False, True, True]


def test_an_override_changes_limits_severity_or_switches_off_and_the_last_one_wins() -> None:
    more = """
[[override]]
rule = "rx-power-low"
select = { labels = { optics = "c+" } }
when = { below = -32.0, clear_above = -31.0 }
severity = "minor"
[[override]]
rule = "rx-power-low"
select = { site = "1305012001" }
when = { below = -31.5 }
[[override]]
rule = "rx-power-low"
select = { device = "ont-2" }
enabled = false
"""
    found = rules(GOOD + more)
    rule = only(found)
    assert (rule.criterion, rule.delay, rule.severity) == (Limit(-31.5, -31.0, -1), 60 * S, "minor")
    assert found.for_device(region().devices["ont-2"]) == ()
    assert rule.version != only(rules(GOOD)).version


def test_the_version_follows_the_content_and_nothing_else() -> None:
    first = only(rules(GOOD))
    assert only(rules("# a remark\n\n" + GOOD)).version == first.version
    assert only(rules(GOOD.replace("5m", "6m"))).version != first.version
    reworded = only(rules(GOOD.replace("Daya", "Sinyal")))
    assert reworded.version != first.version
    assert reworded.logic == first.logic


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('"ont"', '"onts"', "ont.toml:4: rule select.kind: the kind 'onts' does not exist; did you mean"),
        ("rx_dbm", "rx_db", "ont.toml:4: rule select.metric: 'rx_db' is no metric of the kind ont; did"),
        ("rx_dbm", "wobble", "'wobble' is no metric of the kind ont; one of clock_wrong, distance_m, "),
        ("metric =", "site = '999', metric =", "ont.toml:4: rule select.site: the site '999' does not exist"),
        ("metric =", "area = '77', metric =", "rule select.area: the area '77' does not exist"),
        ("metric =", "agency = 'x', metric =", "the agency 'x' does not exist; one of Camat, Nagari"),
        ("metric =", "device = 'ont-9', metric =", "the device 'ont-9' does not exist; did you mean"),
        (', metric = "rx_dbm"', "", "ont.toml:4: rule select: names no metric; below needs one"),
        ("metric =", "metrics =", "ont.toml:4: rule select.metrics: is no key here; did you mean 'metric'?"),
        ("severity", "severty", "ont.toml:6: rule severty: is no key here; did you mean 'severity'?"),
        ('"major"', '"bad"', "ont.toml:6: rule severity: input should be 'critical', 'major', 'minor'"),
        ("-26.0", "-27.5", "ont.toml:5: rule when.clear_above: clear_above = -27.5 is on the wrong side of"),
        ("clear_above", "clear_below", "clear_below does not go with below; below clears by clear_above"),
        ("below =", "above = 1, below =", "rule when.below: gives above and below; give"),
        ("below = -27.0, clear_above = -26.0,", "", "rule when: gives no condition; give exactly one of"),
        ("-27.0", "true", "rule when.below: input should be a valid number"),
        ("-27.0", "-99", "rule when.below: below = -99 is beyond what rx_dbm can say; -40…8.2 dBm"),
        ("-27.0", "nan", "rule when.below: input should be a finite number"),
        ('"60s"', '"60 parsec"', "ont.toml:5: rule when.for: '60 parsec' is no duration; write it like"),
        ("below = -27.0, clear_above = -26.0,", "absent = false,", "absent = false says nothing; write true"),
        ("below = -27.0, clear_above = -26.0,", "absent = 0,", "absent = 0 says nothing; write true or a"),
        ("below = -27.0, clear_above = -26.0,", "equals = 'on',", "when.equals: 'on' is neither a number"),
        ("below = -27.0, clear_above = -26.0,", "equals = nan,", "nan is neither a number nor true or false"),
        ("below =", "equals = 1, below =", "rule when.equals: gives below and equals; give exactly one of"),
        ("below = -27.0,", "equals = 1,", "clear_above does not go with equals; use it with below, or"),
        ("below = -27.0, clear_above = -26.0,", "equals = true,", "rx_dbm is a number, never true or"),
        (', en = "Optical power {value} {unit} at {site}"', "", "ont.toml:7: rule summary.en: is missing"),
        ("{site}", "{place}", "ont.toml:7: rule summary.id: {place} is no placeholder; one of {value},"),
        ("{value}", "{value:.1f}", "rule summary.id: {value} is no placeholder"),
        ("{site}", "{site", "rule summary.id: the braces do not match"),
        ("rx-power-low", "Rx Low", "ont.toml:3: rule name: string should match pattern"),
        ("[[rule]]", "[[rules]]", "ont.toml:2: 'rules' is not known; did you mean '[[rule]]'?"),
        ("[[rule]]", "[rule]", "ont.toml: rule is no list of tables; begin each one with [[rule]]"),
        ("below = -27.0", "below -27.0", "rules/ont.toml:5: is not TOML: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_its_mend(old: str, new: str, wanted: str) -> None:
    assert any(wanted in line for line in told(GOOD.replace(old, new))), told(GOOD.replace(old, new))


def test_a_boolean_metric_wants_equals() -> None:
    text = GOOD.replace("ont", "climate").replace("rx_dbm", "smoke")
    assert "smoke is true or false; use equals = true or equals = false" in told(text)[0]


def test_everything_wrong_is_told_at_once() -> None:
    text = GOOD.replace("metric =", "metrics =").replace("60s", "x").replace("major", "bad") + GOOD + GOOD
    lines = told(text)
    assert len(lines) == 4
    assert "rules/ont.toml:17: rule name: 'rx-power-low' stands in rules/ont.toml:10 already" in lines[-1]


NAMED = 'rule = "rx-power-low"\n'


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ('rule = "rx-low"\nselect = {}\nenabled = false', "ont.toml:10: override rule: there is no"),
        (NAMED + 'select = {}', "changes nothing; give when, severity or enabled"),
        (NAMED + 'select = {}\nwhen = { below = -20 }', "ont.toml:12: override when.clear_above"),
        (NAMED + 'select = {}\nwhen = { above = 1 }', "gives above and below"),
        (NAMED + 'select = { site = "x" }\nenabled = false', "ont.toml:11: override select.site"),
    ],
)  # fmt: skip
def test_an_override_is_checked_too(override: str, wanted: str) -> None:
    assert any(wanted in line for line in told(f"{GOOD}\n[[override]]\n{override}\n"))


def test_overrides_that_do_not_go_together_are_told() -> None:
    more = """
[[override]]
rule = "rx-power-low"
select = { kind = "ont" }
when = { clear_above = -26.9 }
[[override]]
rule = "rx-power-low"
select = { device = "ont-2" }
when = { below = -26.5 }
"""
    (line,) = told(GOOD + more)
    assert line.startswith(
        "rules/ont.toml:16: override when.clear_above: clear_above = -26.9 is on the wrong side"
    )
    assert "with the other overrides for ont-2" in line


def test_a_summary_reads_in_the_operators_language() -> None:
    found = rules(GOOD)
    alert = Alert("x", "rx-power-low", "v", "1305012001", "ont-1", "rx_dbm", "major", "active", 0, -27.125)
    assert found.summary(alert, "id") == "Daya optik -27,125 dBm di Lubuk Alung"
    assert found.summary(alert, "en") == "Optical power -27.125 dBm at Lubuk Alung"
    assert summary(None, alert, "Lubuk Alung", "id") == "rx-power-low · Lubuk Alung · ont-1 · rx_dbm"


def test_the_schema_knows_every_key() -> None:
    defined = schema()["$defs"]
    assert {"above", "below", "clear_above", "clear_below", "equals", "absent", "for", "keep"} == set(
        defined["When"]["properties"]
    )
    assert set(schema()["properties"]) == {"rule", "override"}


def test_the_shipped_rules_watch_every_kind_of_the_field_and_its_silence() -> None:
    shipped = load(read_folder(SHIPPED))
    found = parse_rules(shipped.rules, shipped)
    for file in shipped.rules:
        kind = Path(file).stem
        held = found.for_device(Device(shipped.centre, "any", kind))
        assert any(rule.criterion.silence and not rule.metric for rule in held), kind
        assert any(not rule.criterion.silence for rule in held), kind
    assert {Path(file).stem for file in shipped.rules} >= {
        "ont", "olt", "router", "power", "climate", "river", "host",
    }  # fmt: skip


def test_the_shipped_summaries_read_in_both_languages() -> None:
    shipped = load(read_folder(SHIPPED))
    found = parse_rules(shipped.rules, shipped)
    for file in shipped.rules:
        for rule in found.for_device(Device(shipped.centre, "d-1", Path(file).stem)):
            alert = Alert("x", rule.name, "v", shipped.centre, "d-1", rule.metric, "major", "active", 0, 1.0)
            texts = {lang: summary(rule, alert, "Sikabu", lang) for lang in ("id", "en")}
            assert texts["id"] != texts["en"]
            assert all("Sikabu" in text and "{" not in text for text in texts.values())
