from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from collector.api.app import STATIC
from devices import region as regions
from devices.catalogue import KINDS
from devices.problems import Problems
from tests.unit import api_desk

SITE = "1305012001"
ONT = {"site": SITE, "device": "lubuk-alung-ont", "metric": "rx_dbm"}


@pytest.fixture
def client(desk: Any) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {desk.token('admin', 'Rina')}"}
    with api_desk.serving(desk) as live, httpx.Client(base_url=live.url, headers=headers) as client:
        client.live = live  # type: ignore[attr-defined]
        yield client


def live_of(client: httpx.Client) -> Any:
    return client.live  # type: ignore[attr-defined]


def refused(answer: Any, status: int, *words: str) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    body: dict[str, str] = answer.json()
    assert set(body) == {"error", "where", "mend"}
    for word in words:
        assert word in " ".join(body.values())
    return body


def test_stats_carry_the_accounts_the_health_and_the_hour(desk: Any, client: httpx.Client) -> None:
    desk.reading("lubuk-alung-ont", "rx_dbm", -21.0)
    desk.reject("nagari/v1/x/y/tele", "is not JSON", b"{")
    desk.parts["store"] = "does not write: disk full"
    found = client.get("/api/v1/stats").json()
    fates = (
        found["stored"] + found["duplicate"] + found["quarantined"] + found["dropped"] + found["in_flight"]
    )
    assert found["received"] == fates
    assert found["health"]["store"] == "does not write: disk full"
    assert found["ready"] is True
    assert abs(found["now"] - time.time() * 1000) < 60_000


def test_a_dead_store_leaves_it_ready_and_a_lost_broker_does_not(desk: Any, client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    desk.parts["store"] = "gone"
    assert client.get("/readyz").status_code == 200
    desk.parts["mqtt"] = "not connected"
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["parts"]["mqtt"]) == (503, "not connected")


def test_who_has_no_token_learns_only_whether_it_is_ready(desk: Any, client: httpx.Client) -> None:
    desk.parts["hook"] = "https://hooks.example.org does not answer"
    url = live_of(client).url
    assert httpx.get(f"{url}/readyz").json() == {"ready": True}
    assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
    refused(httpx.get(f"{url}/readyz", headers={"Authorization": "Bearer guess"}), 401)


def test_lists_come_in_pages_by_id(client: httpx.Client) -> None:
    first = client.get("/api/v1/sites?limit=3").json()
    assert [site["id"] for site in first["sites"]] == ["1305-kominfo", "1305012001", "1305012002"]
    assert first["region"]["timezone"] == "Asia/Jakarta"
    second = client.get("/api/v1/sites", params={"limit": 3, "cursor": first["next"]}).json()
    assert ([site["id"] for site in second["sites"]], second["next"]) == (["1305012003"], None)
    assert first["sites"][1]["devices"] == 2


def test_a_site_says_how_its_devices_stand(desk: Any, client: httpx.Client) -> None:
    now = time.time_ns()
    desk.readings("lubuk-alung-ont", "rx_dbm", [(now - 10**9, -21.5)])
    desk.readings("lubuk-alung-ont", "temperature_c", [(now - 3600 * 10**9, 48.0)])
    desk.readings("pasie-laweh-ont", "rx_dbm", [(now - 3600 * 10**9, -21.5)])
    desk.online["lubuk-alung-rtr"] = "offline"
    found = {site["id"]: site for site in client.get("/api/v1/sites").json()["sites"]}
    stands = {key: (*site["presence"].values(), site["heard"], site["silent"]) for key, site in found.items()}
    assert list(found[SITE]["presence"]) == ["online", "offline", "unknown"]
    assert stands == {
        "1305-kominfo": (0, 0, 1, 0, 0),
        SITE: (1, 1, 0, 1, 0),
        "1305012002": (0, 0, 1, 0, 1),
        "1305012003": (0, 0, 0, 0, 0),
    }


def test_a_site_counts_the_devices_as_they_are_listed(desk: Any, client: httpx.Client) -> None:
    now = time.time_ns()
    desk.readings("lubuk-alung-rtr", "latency_ms", [(now - 59 * 10**9, 9.0)])
    desk.readings("centre-host", "cpu_pct", [(now - 7 * 10**9, 9.0)])
    desk.readings("stranger", "cpu_pct", [(now, 9.0)])
    desk.online["pasie-laweh-ont"] = "online"
    devices = client.get("/api/v1/devices").json()["devices"]
    for site in client.get("/api/v1/sites").json()["sites"]:
        said = [device["presence"] for device in devices if device["site"] == site["id"]]
        assert site["presence"] == {name: said.count(name) for name in ("online", "offline", "unknown")}


def test_a_page_that_follows_the_sites_is_told_only_what_changed(desk: Any, client: httpx.Client) -> None:
    first = client.get("/api/v1/sites").json()
    assert len(first["sites"]) == 4
    asked = {"since": first["version"]}
    again = client.get("/api/v1/sites", params=asked).json()
    assert (again["sites"], again["next"], again["version"]) == ([], None, first["version"])
    assert again["region"]["hash"] == first["region"]["hash"]

    desk.reading("pasie-laweh-ont", "rx_dbm", -21.0)
    desk.online["centre-host"] = "online"
    asked["limit"] = 1
    page = until(lambda: client.get("/api/v1/sites", params=asked).json(), lambda body: body["next"])
    assert [site["id"] for site in page["sites"]] == ["1305-kominfo"]
    rest = client.get("/api/v1/sites", params={**asked, "cursor": page["next"]}).json()
    assert ([site["id"] for site in rest["sites"]], rest["next"]) == (["1305012002"], None)
    assert client.get("/api/v1/sites", params={"since": rest["version"]}).json()["sites"] == []
    assert len(client.get("/api/v1/sites", params={"since": 2**62}).json()["sites"]) == 4


def until(ask: Any, good: Any) -> Any:
    """The answer, once it is good: a pass over the sites is followed by a moment's rest."""
    deadline = time.monotonic() + 10
    while not good(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


def test_another_region_makes_every_site_new(desk: Any, client: httpx.Client) -> None:
    first = client.get("/api/v1/sites").json()
    sites = api_desk.FILES["sites.csv"].replace(b"Pasie Laweh", b"Singguliang")
    desk.region = regions.load({**api_desk.FILES, "sites.csv": sites})
    found = client.get("/api/v1/sites", params={"since": first["version"]}).json()
    assert [site["name"] for site in found["sites"]][2] == "Singguliang"
    assert found["region"]["hash"] != first["region"]["hash"]


def test_the_boundaries_come_as_they_are_and_only_once(desk: Any, client: httpx.Client) -> None:
    answer = client.get("/api/v1/boundaries")
    assert answer.content == api_desk.FILES["boundaries.geojson"]
    assert answer.headers["content-type"] == "application/geo+json"
    assert answer.headers["cache-control"] == "private, no-cache"
    tag = answer.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get("/api/v1/boundaries", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/api/v1/boundaries", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["sites", "devices", "links", "alerts", "rejects"])
def test_a_page_has_a_cap(client: httpx.Client, path: str) -> None:
    for limit in (0, -1, 1001, 10**12, "all"):
        refused(client.get(f"/api/v1/{path}?limit={limit}"), 422, "query.limit")


def test_a_device_shows_presence_values_and_their_age(desk: Any, client: httpx.Client) -> None:
    now = time.time_ns()
    desk.readings("lubuk-alung-ont", "rx_dbm", [(now - 10**9, -21.5)])
    desk.readings("lubuk-alung-ont", "temperature_c", [(now - 3600 * 10**9, 48.0)])
    desk.online["lubuk-alung-ont"] = "online"
    found = client.get(f"/api/v1/devices?site={SITE}").json()["devices"]
    assert [(d["id"], d["presence"]) for d in found] == [
        ("lubuk-alung-ont", "online"),
        ("lubuk-alung-rtr", "unknown"),
    ]
    metrics = {metric["name"]: metric for metric in found[0]["metrics"]}
    assert (metrics["rx_dbm"]["value"], metrics["rx_dbm"]["unit"]) == (-21.5, "dBm")
    assert 1000 <= metrics["rx_dbm"]["age_ms"] < 60_000
    assert (metrics["rx_dbm"]["stale"], metrics["temperature_c"]["stale"]) == (False, True)
    assert metrics["tx_dbm"]["value"] is None


def test_an_old_site_id_still_leads_there(client: httpx.Client) -> None:
    found = client.get("/api/v1/devices?site=1305019999").json()["devices"]
    assert [device["site"] for device in found] == [SITE, SITE]
    refused(client.get("/api/v1/devices?site=nowhere"), 404, "there is no site nowhere", "/api/v1/sites")


def test_links_show_their_ends_and_path(client: httpx.Client) -> None:
    link, *_ = client.get("/api/v1/links").json()["links"]
    assert (link["a"], link["b"], link["length_km"]) == ("1305-kominfo", SITE, 12.5)
    assert link["path"] == [[100.2, -0.6], [100.28, -0.67]]


def test_rejects_show_why_newest_first_and_their_bytes_are_harmless(desk: Any, client: httpx.Client) -> None:
    for number in range(3):
        desk.reject(f"nagari/v1/x/{number}/tele", "is not JSON", b"\xff\x00<script>\n")
    page = client.get("/api/v1/rejects?limit=2").json()
    assert [row["topic"] for row in page["rejects"]] == ["nagari/v1/x/2/tele", "nagari/v1/x/1/tele"]
    assert page["rejects"][0]["head"].startswith("\\xff")
    rest = client.get("/api/v1/rejects", params={"limit": 2, "cursor": page["next"]}).json()
    assert ([row["topic"] for row in rest["rejects"]], rest["next"]) == (["nagari/v1/x/0/tele"], None)


def test_a_series_is_from_up_to_but_not_to(desk: Any, client: httpx.Client) -> None:
    desk.readings(
        "lubuk-alung-ont", "rx_dbm", [(second * 10**9, -20.0 - second) for second in range(1000, 1010)]
    )
    found = client.get("/api/v1/series", params={**ONT, "from": 1_002_000, "to": 1_005_000}).json()
    assert found["points"] == [[1_002_000, -1022.0], [1_003_000, -1023.0], [1_004_000, -1024.0]]
    assert (found["tier"], found["unit"]) == ("raw", "dBm")


@pytest.mark.parametrize(
    ("agg", "value"),
    [(None, -3.0), ("mean", -3.0), ("min", -5.0), ("max", -1.0), ("last", -5.0), ("count", 5.0)],
)
def test_a_step_gathers_by_what_is_asked(
    desk: Any, client: httpx.Client, agg: str | None, value: float
) -> None:
    desk.readings("lubuk-alung-ont", "rx_dbm", [((60 + n) * 10**9, -1.0 - n) for n in range(5)])
    asked = {**ONT, "from": 0, "to": 120_000, "step": 60_000, **({"agg": agg} if agg else {})}
    assert client.get("/api/v1/series", params=asked).json()["points"] == [[60_000, value]]


def test_without_times_a_series_is_the_last_hour(desk: Any, client: httpx.Client) -> None:
    now = time.time_ns()
    desk.readings("lubuk-alung-ont", "rx_dbm", [(now - 7200 * 10**9, -1.0), (now - 60 * 10**9, -2.0)])
    found = client.get("/api/v1/series", params=ONT).json()["points"]
    assert [value for _, value in found] == [-2.0]


def test_one_metric_of_everywhere_comes_in_one_answer(desk: Any, client: httpx.Client) -> None:
    desk.readings("lubuk-alung-ont", "rx_dbm", [((60 + n) * 10**9, -1.0 - n) for n in range(5)])
    desk.readings("pasie-laweh-ont", "rx_dbm", [((120 + n) * 10**9, -8.0) for n in range(5)])
    desk.readings("pasie-laweh-ont", "temperature_c", [(61 * 10**9, 40.0)])
    asked = {"metric": "rx_dbm", "from": 0, "to": 240_000}
    found = client.get("/api/v1/charts", params=asked).json()
    assert found == {
        "series": [
            {"site": SITE, "device": "lubuk-alung-ont", "points": [[60_000, -3.0]]},
            {"site": "1305012002", "device": "pasie-laweh-ont", "points": [[120_000, -8.0]]},
        ],
        "tier": "minute",
        "unit": "dBm",
    }
    there = client.get("/api/v1/charts", params={**asked, "site": "1305012002"}).json()["series"]
    assert [one["device"] for one in there] == ["pasie-laweh-ont"]
    assert client.get("/api/v1/charts", params={"metric": "rx_dbm"}).json()["series"] == []  # the last hour
    refused(client.get("/api/v1/charts", params={"metric": "speed"}), 404, "there is no metric", "rx_dbm")
    refused(client.get("/api/v1/charts", params={**asked, "site": "nowhere"}), 404, "no site nowhere")
    refused(client.get("/api/v1/charts", params={**asked, "to": 10**12, "step": 1}), 400, "step=")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"site": "nowhere"}, 404, ["there is no site nowhere", "/api/v1/sites"]),
        ({"device": "nothing"}, 404, ["there is no device nothing", f"/api/v1/devices?site={SITE}"]),
        ({"device": "pasie-laweh-ont"}, 404, ["stands at 1305012002", "site=1305012002"]),
        ({"metric": "speed"}, 404, ["has no metric speed", "rx_dbm"]),
        ({"from": 5, "to": 5}, 400, ["from (5) is not before to (5)"]),
        ({"from": 0, "to": 10**12, "step": 1}, 400, ["more than 20000 points", "step="]),
        ({"step": 0}, 422, ["query.step"]),
        ({"step": 8 * 10**12}, 422, ["query.step"]),
        ({"step": 10**12}, 422, ["query.step"]),
        ({"since": 1}, 422, ["query.since", "site, device, metric, from, to, step, agg"]),
        ({"from": -1}, 422, ["query.from"]),
        ({"to": 10**18}, 422, ["query.to"]),
        ({"agg": "median"}, 422, ["query.agg", "mean"]),
        ({"metric": ""}, 422, ["query.metric"]),
        ({"device": "x' or 1=1; drop table readings; --"}, 404, ["there is no device"]),
    ],
)
def test_a_wrong_question_gets_a_clear_sentence(
    client: httpx.Client, change: dict[str, Any], status: int, words: list[str]
) -> None:
    refused(client.get("/api/v1/series", params={**ONT, **change}), status, *words)


def test_the_longest_step_at_the_end_of_time_is_answered(desk: Any, client: httpx.Client) -> None:
    desk.readings("lubuk-alung-ont", "rx_dbm", [(10**9, -20.0)])
    asked = {**ONT, "from": 0, "to": 8 * 10**12, "step": 10 * 366 * 86_400_000}
    assert client.get("/api/v1/series", params=asked).json()["points"] == [[0, -20.0]]
    assert client.get("/api/v1/series", params={**asked, "from": 8 * 10**12 - 1}).json()["points"] == []
    assert client.get("/api/v1/charts", params={**asked, "metric": "rx_dbm"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "key", "known"),
    [
        ("alerts?after=x", "after", "state, site, severity, limit, cursor"),
        ("devices?curser=x&limit=3", "curser", "site, limit, cursor"),
        ("stats?x=1", "x", "takes no keys"),
        ("stream?sites=x", "sites", "site, last_event_id"),
        ("links?%1b=x", "\\x1b", "limit, cursor"),
    ],
)
def test_a_key_that_is_not_known_is_refused_with_those_that_are(
    client: httpx.Client, path: str, key: str, known: str
) -> None:
    body = refused(client.get(f"/api/v1/{path}"), 422, known)
    assert body["where"] == f"query.{key}"


def test_a_trail_comes_in_pages(desk: Any, client: httpx.Client) -> None:
    alert = live_of(client).do(desk.raise_alert())
    for number in range(5):
        client.post(f"/api/v1/alerts/{alert.id}/comment", json={"comment": str(number)})
    seen, cursor = [], "0"
    while cursor is not None:
        page = client.get(f"/api/v1/alerts/{alert.id}/trail", params={"limit": 2, "cursor": cursor}).json()
        assert len(page["trail"]) <= 2
        seen += [step["comment"] for step in page["trail"]]
        cursor = page["next"]
    assert seen == ["", "0", "1", "2", "3", "4"]
    refused(client.get(f"/api/v1/alerts/{alert.id}/trail?limit=1001"), 422, "query.limit")


def test_too_many_raw_points_name_a_step_that_fits(desk: Any, client: httpx.Client) -> None:
    desk.readings("lubuk-alung-ont", "rx_dbm", [(n * 10**9, 1.0) for n in range(1, 20_003)])
    body = refused(client.get("/api/v1/series", params={**ONT, "from": 0, "to": 21_000_000}), 400)
    step = int(body["mend"].rsplit("=", 1)[1])
    asked = {**ONT, "from": 0, "to": 21_000_000, "step": step}
    assert 100 < len(client.get("/api/v1/series", params=asked).json()["points"]) < 20_000


def test_what_is_not_there_or_not_allowed_has_the_one_shape(client: httpx.Client) -> None:
    refused(client.get("/nowhere"), 404, "GET /nowhere")
    refused(client.get("/api/v1/nowhere"), 404)
    refused(client.put("/api/v1/stats"), 405)
    refused(
        client.post("/api/v1/alerts/a1/ack", content=b"{", headers={"Content-Type": "application/json"}), 422
    )


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: httpx.Client) -> None:
    refused(client.post("/api/v1/session", content=b"x" * 70_000), 413, "64 KiB")

    def in_pieces() -> Iterator[bytes]:
        for _ in range(9):
            yield b"x" * 8192

    refused(client.post("/api/v1/session", content=in_pieces()), 413)


def test_a_fault_of_ours_is_owned_and_tells_nothing(desk: Any, client: httpx.Client) -> None:
    desk.stats = lambda: 1 / 0
    body = refused(client.get("/api/v1/stats"), 500, "the fault is ours")
    assert "division" not in str(body)


def test_a_store_that_cannot_answer_is_503_and_alerts_go_on(desk: Any, client: httpx.Client) -> None:
    desk.reading("lubuk-alung-ont", "rx_dbm", -21.0)
    desk.store.close()
    refused(client.get("/api/v1/series", params=ONT), 503, "store")
    assert client.get("/api/v1/alerts").status_code == 200


def test_every_answer_carries_the_security_headers(client: httpx.Client) -> None:
    for path in ("/", "/static/app.js", "/api/v1/stats", "/nowhere", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert client.get("/api/v1/stats").headers["cache-control"] == "no-store"


def test_the_page_loads_nothing_from_elsewhere_and_has_no_inline_script_or_style(
    client: httpx.Client,
) -> None:
    page = client.get("/").text
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "style=" not in page
    assert "<style" not in page
    assert page.count("<script") == page.count('<script src="/static/')
    for file in STATIC.rglob("*"):
        if file.suffix in {".js", ".css"} and "vendor" not in file.parts:
            text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "://" not in text, file.name
            assert "innerHTML" not in text, file.name


def test_nothing_outside_static_is_served(client: httpx.Client) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/"):
        assert client.get(path).status_code in {404, 405}


def test_both_languages_say_the_same_things() -> None:
    words = {name: json.loads((STATIC / "i18n" / f"{name}.json").read_text("utf-8")) for name in ("id", "en")}
    assert words["id"].keys() == words["en"].keys()
    for key in words["id"]:
        holes = [
            sorted(part.split("}")[0] for part in words[lang][key].split("{")[1:]) for lang in ("id", "en")
        ]
        assert holes[0] == holes[1], key


def test_every_metric_of_the_catalogue_has_a_name_in_words() -> None:
    words = json.loads((STATIC / "i18n" / "id.json").read_text("utf-8"))
    metrics = {metric for kind in KINDS.values() for metric in kind.metrics}
    assert {name for name in metrics if f"metric.{name}" not in words} == set()


def test_an_alert_is_listed_with_its_sentence_in_both_languages(desk: Any, client: httpx.Client) -> None:
    alert = live_of(client).do(desk.raise_alert())
    (found,) = client.get("/api/v1/alerts").json()["alerts"]
    assert found["id"] == alert.id
    assert (found["state"], found["condition"], found["acked"]) == ("unacknowledged", "active", False)
    assert found["summary"] == {
        "id": "Nilai rx_dbm -28.5 di lubuk-alung-ont",
        "en": "rx_dbm is -28.5 at lubuk-alung-ont",
    }
    assert found["at"] == alert.at // 10**6
    assert client.get(f"/api/v1/alerts/{alert.id}").json() == found


def test_active_open_and_all_differ(desk: Any, client: httpx.Client) -> None:
    active, returned, done = [live_of(client).do(desk.raise_alert()) for _ in range(3)]
    for alert in (returned, done):
        live_of(client).do(desk.clear(alert.id))
    client.post(f"/api/v1/alerts/{done.id}/ack", json={})

    def ids(state: str) -> set[str]:
        return {alert["id"] for alert in client.get(f"/api/v1/alerts?state={state}").json()["alerts"]}

    assert ids("active") == {active.id}
    assert ids("open") == {active.id, returned.id}
    assert ids("all") == {active.id, returned.id, done.id}
    refused(client.get("/api/v1/alerts?state=some"), 422, "query.state")


def test_alerts_are_found_by_site_and_severity(desk: Any, client: httpx.Client) -> None:
    here = live_of(client).do(desk.raise_alert(severity="critical"))
    there = live_of(client).do(desk.raise_alert("pasie-laweh-ont", site="1305012002"))
    by_site = client.get("/api/v1/alerts?site=1305012002").json()["alerts"]
    by_severity = client.get("/api/v1/alerts?severity=critical").json()["alerts"]
    assert ([a["id"] for a in by_site], [a["id"] for a in by_severity]) == ([there.id], [here.id])


@pytest.mark.parametrize("state", ["active", "open", "all"])
def test_pages_of_alerts_miss_none_and_double_none(desk: Any, client: httpx.Client, state: str) -> None:
    made = [(live_of(client).do(desk.raise_alert())).id for _ in range(7)]
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get("/api/v1/alerts", params={"state": state, "limit": 3, "cursor": cursor}).json()
        seen += [alert["id"] for alert in page["alerts"]]
        cursor = page["next"]
    assert seen == made[::-1]
    refused(client.get("/api/v1/alerts?cursor=nonsense"), 400, "cursor")
    refused(client.get(f"/api/v1/alerts?cursor={10**30}:x"), 400, "cursor")


def test_an_alert_is_acknowledged_with_a_comment_and_the_trail_says_by_whom(
    desk: Any, client: httpx.Client
) -> None:
    alert = live_of(client).do(desk.raise_alert())
    answer = client.post(f"/api/v1/alerts/{alert.id}/ack", json={"comment": "Tim sudah berangkat"}).json()
    assert (answer["kind"], answer["alert"]["state"], answer["alert"]["acked"]) == (
        "acked",
        "acknowledged",
        True,
    )
    assert answer["alert"]["summary"]["id"] == "Nilai rx_dbm -28.5 di lubuk-alung-ont"
    steps = client.get(f"/api/v1/alerts/{alert.id}/trail").json()["trail"]
    assert [(step["kind"], step["by"], step["comment"]) for step in steps] == [
        ("raised", "", ""),
        ("acked", "Rina", "Tim sudah berangkat"),
    ]


def test_all_six_actions_take_effect(desk: Any, client: httpx.Client) -> None:
    alert = live_of(client).do(desk.raise_alert())
    for name, body, field, value in (
        ("shelve", {"seconds": 3600}, "holds", ["shelved"]),
        ("unshelve", {}, "holds", []),
        ("assign", {"to": "Budi"}, "assignee", "Budi"),
        ("comment", {"comment": "dicek"}, "acked", False),
        ("ack", {}, "acked", True),
        ("unack", {}, "acked", False),
    ):
        answer = client.post(f"/api/v1/alerts/{alert.id}/{name}", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["alert"][field] == value


def test_an_action_that_makes_no_sense_is_refused_with_the_reason(desk: Any, client: httpx.Client) -> None:
    alert = live_of(client).do(desk.raise_alert())
    client.post(f"/api/v1/alerts/{alert.id}/ack", json={})
    refused(client.post(f"/api/v1/alerts/{alert.id}/ack", json={}), 409, "it is acknowledged already")
    refused(client.post("/api/v1/alerts/none/ack", json={}), 404, "there is no such alert")


@pytest.mark.parametrize(
    ("name", "body", "where"),
    [
        ("comment", {}, "body.comment"),
        ("comment", {"comment": "  "}, "body.comment"),
        ("ack", {"comment": "x" * 1001}, "body.comment"),
        ("ack", {"coment": "typo"}, "body.coment"),
        ("shelve", {}, "body.seconds"),
        ("shelve", {"seconds": 1}, "body.seconds"),
        ("shelve", {"seconds": 10**9}, "body.seconds"),
        ("assign", {"to": "a\nb"}, "body.to"),
        ("assign", {"to": "x" * 65}, "body.to"),
    ],
)
def test_a_wrong_action_names_its_field(
    desk: Any, client: httpx.Client, name: str, body: dict[str, Any], where: str
) -> None:
    alert = live_of(client).do(desk.raise_alert())
    refused(client.post(f"/api/v1/alerts/{alert.id}/{name}", json=body), 422, where)


def test_a_journal_that_takes_nothing_is_said_so(desk: Any, client: httpx.Client) -> None:
    alert = live_of(client).do(desk.raise_alert())
    desk.broken = Problems.one("journal", "the disk is full", "make room in /var/lib/nagari")
    answer = client.post(f"/api/v1/alerts/{alert.id}/ack", json={})
    refused(answer, 503, "the disk is full", "make room", "journal")
    assert int(answer.headers["Retry-After"]) > 0


def test_an_action_that_takes_long_is_journaled_and_said_so(desk: Any, client: httpx.Client) -> None:
    alert = live_of(client).do(desk.raise_alert())
    desk.slow = True
    keyed = {"Idempotency-Key": "k-1"}
    answer = client.post(f"/api/v1/alerts/{alert.id}/ack", json={}, headers=keyed)
    assert (answer.status_code, answer.json()["journaled"]) == (202, True)
    action = answer.json()["action"]
    where = f"/api/v1/alerts/{alert.id}/actions/{action}"
    assert where in answer.json()["mend"]
    assert client.get(where).json()["state"] == "pending"
    assert client.post(f"/api/v1/alerts/{alert.id}/ack", json={}, headers=keyed).json()["action"] == action
    desk.slow = False
    done = client.post(f"/api/v1/alerts/{alert.id}/ack", json={}, headers=keyed)
    assert (done.status_code, done.json()["action"], done.json()["kind"]) == (200, action, "acked")
    assert client.get(where).json()["state"] == "acked"
    refused(client.get(where.replace(action, "0" * 32)), 404, "no such action")


def test_the_same_key_does_an_action_once_and_another_one_again(desk: Any, client: httpx.Client) -> None:
    alert = live_of(client).do(desk.raise_alert())
    for key in ("a", "a", "b"):
        said = client.post(
            f"/api/v1/alerts/{alert.id}/comment", json={"comment": "hi"}, headers={"Idempotency-Key": key}
        )
        assert said.status_code == 200
    trail = client.get(f"/api/v1/alerts/{alert.id}/trail").json()["trail"]
    assert [step["kind"] for step in trail] == ["raised", "commented", "commented"]
    wrong = {"Idempotency-Key": "no key;"}
    refused(client.post(f"/api/v1/alerts/{alert.id}/ack", json={}, headers=wrong), 422, "Idempotency-Key")
