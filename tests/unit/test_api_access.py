from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from collector.api.app import ROUTERS
from collector.api.edge.access import role_of
from collector.api.edge.denials import MOST, Denials
from collector.state import ROLES
from tests.unit import api_desk

ROUTES = [(route, method) for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)
          for method in sorted(route.methods)]  # fmt: skip
GUARDED = [
    (r, m) for r, m in ROUTES if r.path.startswith("/api/v1") and (m, r.path) != ("POST", "/api/v1/session")
]


def named(pairs: list[tuple[APIRoute, str]]) -> list[Any]:
    return [pytest.param(route, method, id=f"{method} {route.path}") for route, method in pairs]


Ask = Callable[..., Any]


@pytest.fixture
def client(desk: Any) -> Iterator[httpx.Client]:
    with api_desk.serving(desk) as live, httpx.Client(base_url=live.url) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def sign_in(client: httpx.Client, token: str) -> None:
    assert client.post("/api/v1/session", json={"token": token}).status_code == 200


def test_every_route_of_the_api_is_known_to_the_matrix(client: httpx.Client) -> None:
    listed = {
        (method.upper(), path)
        for path, methods in client.get("/api/openapi.json").json()["paths"].items()
        for method in methods
    }
    assert {(method, route.path) for route, method in ROUTES} == listed


def test_only_signing_in_is_open_below_api_v1() -> None:
    open_routes = {(m, r.path) for r, m in ROUTES if role_of(r) is None}
    assert open_routes == {
        ("POST", "/api/v1/session"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }


@pytest.mark.parametrize(("route", "method"), named(GUARDED))
def test_nobody_gets_in_without_a_token(client: httpx.Client, route: APIRoute, method: str) -> None:
    for proof in ({}, bearer("wrong"), {"Authorization": "Basic YTpi"}, {"Cookie": "nagari_session=wrong"}):
        headers = {**proof, "X-Nagari": "1"}
        answer = client.request(method, route.path.replace("{id}", "a1"), json={}, headers=headers)
        assert answer.status_code == 401
        assert set(answer.json()) == {"error", "where", "mend"}


# The stream does not end: test_api_stream asks it with each role.
@pytest.mark.parametrize(
    ("route", "method"), named([g for g in GUARDED if not g[0].path.endswith("/stream")])
)
def test_each_role_may_what_the_route_says_and_no_more(
    desk: Any, client: httpx.Client, route: APIRoute, method: str
) -> None:
    needed = role_of(route)
    assert needed is not None
    for role in ROLES:
        headers = bearer(desk.token(role))
        answer = client.request(method, route.path.replace("{id}", "a1"), json={}, headers=headers)
        may = ROLES.index(role) >= ROLES.index(needed)
        assert (answer.status_code != 403) == may, role
        assert answer.status_code not in {401, 500}


@pytest.mark.parametrize("role", ROLES)
def test_the_roles_are_the_ones_the_design_names(desk: Any, client: httpx.Client, role: str) -> None:
    headers = bearer(desk.token(role))
    got = {
        "read": client.get("/api/v1/alerts", headers=headers).status_code,
        "act": client.post("/api/v1/alerts/none/ack", json={}, headers=headers).status_code,
        "rejects": client.get("/api/v1/rejects", headers=headers).status_code,
    }
    rank = ROLES.index(role)
    assert got == {"read": 200, "act": 404 if rank >= 1 else 403, "rejects": 200 if rank >= 2 else 403}


def test_a_revoked_or_expired_token_is_no_token(desk: Any, client: httpx.Client) -> None:
    token = desk.token("viewer")
    assert client.get("/api/v1/stats", headers=bearer(token)).status_code == 200
    desk.state.revoke(desk.state.list_tokens()[0].id, time.time_ns())
    assert client.get("/api/v1/stats", headers=bearer(token)).status_code == 401
    old = desk.state.create_token("viewer", "old", 1, expires=time.time_ns() - 1)
    assert client.get("/api/v1/stats", headers=bearer(old)).status_code == 401


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(
    desk: Any, client: httpx.Client
) -> None:
    answer = client.post("/api/v1/session", json={"token": desk.token("operator", "Rina")})
    assert answer.json() == {"name": "Rina", "role": "operator"}
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie
    assert client.get("/api/v1/session").json() == {"name": "Rina", "role": "operator"}


def test_behind_tls_the_cookie_is_secure(tmp_path: Path) -> None:
    desk = api_desk.Desk(tmp_path, {"secure_cookie": True})
    with api_desk.serving(desk) as live:
        answer = httpx.post(f"{live.url}/api/v1/session", json={"token": desk.token("viewer")})
    assert "secure" in answer.headers["set-cookie"].lower()
    desk.close()


def test_signing_out_ends_the_session_everywhere(desk: Any, client: httpx.Client) -> None:
    sign_in(client, desk.token("viewer"))
    secret = client.cookies["nagari_session"]
    assert client.delete("/api/v1/session", headers={"X-Nagari": "1"}).status_code == 204
    answer = client.get("/api/v1/stats", headers={"Cookie": f"nagari_session={secret}"})
    assert answer.status_code == 401


def test_a_session_dies_with_its_token(desk: Any, client: httpx.Client) -> None:
    sign_in(client, desk.token("viewer"))
    desk.state.revoke(desk.state.list_tokens()[0].id, time.time_ns())
    assert client.get("/api/v1/stats").status_code == 401


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, False),
        ({"X-Nagari": "1"}, True),
        ({"X-Nagari": "1", "Origin": "itself"}, True),
        ({"X-Nagari": "1", "Origin": "https://evil.test"}, False),
        ({"X-Nagari": "1", "Origin": "null"}, False),
        ({"Origin": "itself"}, False),
    ],
)
def test_a_cookie_alone_moves_nothing(
    desk: Any, client: httpx.Client, headers: dict[str, str], allowed: bool
) -> None:
    sign_in(client, desk.token("operator"))
    itself = {"Origin": str(client.base_url).rstrip("/")} if headers.get("Origin") == "itself" else {}
    answer = client.post("/api/v1/alerts/none/ack", json={}, headers={**headers, **itself})
    assert answer.status_code == (404 if allowed else 403)
    assert client.get("/api/v1/stats").status_code == 200, "reading needs no header"


def test_another_site_cannot_sign_the_browser_in(desk: Any, client: httpx.Client) -> None:
    token = desk.token("viewer")
    evil = client.post("/api/v1/session", json={"token": token}, headers={"Origin": "https://evil.test"})
    assert evil.status_code == 403
    form = client.post(
        "/api/v1/session", content=f'{{"token": "{token}"}}', headers={"Content-Type": "text/plain"}
    )
    assert form.status_code == 422
    assert "set-cookie" not in form.headers


def test_after_ten_wrong_tokens_the_next_wrong_one_must_wait_and_a_valid_one_passes(
    desk: Any, client: httpx.Client
) -> None:
    right = desk.token("operator")
    for _ in range(5):
        assert client.post("/api/v1/session", json={"token": "guess"}).status_code == 401
        assert client.get("/api/v1/stats", headers=bearer("guess")).status_code == 401
    locked = client.post("/api/v1/session", json={"token": "guess"})
    assert locked.status_code == client.get("/api/v1/stats", headers=bearer("guess")).status_code == 429
    assert 0 < int(locked.headers["Retry-After"]) <= 300
    assert client.get("/api/v1/stats", headers=bearer(right)).status_code == 200
    sign_in(client, right)
    assert client.get("/api/v1/stats").status_code == 200


def test_a_storm_of_denials_is_a_few_rows_of_the_audit(
    desk: Any, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.api.edge.access.WINDOW", 0.5)
    monkeypatch.setattr("collector.api.edge.denials.WINDOW", 0.5)
    viewer = desk.token("viewer", "Rina")
    for number in range(50):
        path = f"/api/v1/alerts/a{number}/ack"
        assert client.post(path, json={}, headers=bearer(viewer)).status_code == 403
        client.get("/api/v1/stats", headers=bearer("guess"))
    deadline = time.monotonic() + 10
    while sum(row.detail.get("more", 0) for row in desk.state.audit_rows()) + count(desk) < 60:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert count(desk) <= 12
    assert {row.who for row in desk.state.audit_rows()} == {"Rina", "127.0.0.1"}
    assert desk.state.verify_audit() is None


def count(desk: Any) -> int:
    return sum("more" not in row.detail for row in desk.state.audit_rows())


def test_many_who_are_denied_at_once_are_told_apart_up_to_a_bound() -> None:
    denials = Denials()
    told = [denials.note(f"10.0.0.{n}", "token", {"invalid": "token"}, 0.0) for n in range(200)]
    assert sum(map(len, told)) == MOST
    assert denials.over(59.9) == []
    assert denials.over(60.0) == [("-", {"others": 200 - MOST})]
    assert denials.note("10.0.0.1", "token", {}, 61.0) == [("10.0.0.1", {})]


def test_logins_and_denials_stand_in_the_audit_and_tokens_nowhere(
    desk: Any, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = desk.token("viewer", "Rina")
    sign_in(client, token)
    client.post("/api/v1/session", json={"token": "canary-guess"})
    client.post("/api/v1/alerts/a1/ack", json={}, headers={"X-Nagari": "1"})
    client.get(f"/api/v1/stats?token={token}")
    client.delete("/api/v1/session", headers={"X-Nagari": "1"})
    rows = desk.state.audit_rows()
    assert [(row.who, row.what) for row in reversed(rows)] == [
        ("Rina", "login"),
        ("127.0.0.1", "denied"),
        ("Rina", "denied"),
        ("Rina", "logout"),
    ]
    assert desk.state.verify_audit() is None
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    assert any("/api/v1/stats" in line for line in ours)
    for secret in (token, "canary-guess"):
        assert secret not in str(ours)
        assert secret not in str(rows)


def test_metrics_ask_for_a_token_on_loopback_too(desk: Any, client: httpx.Client) -> None:
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=bearer("guess")).status_code == 401
    answer = client.get("/metrics", headers=bearer(desk.token("viewer")))
    assert answer.text.startswith("# TYPE nagari_received_total")


def test_a_scraper_has_a_token_of_its_own_that_opens_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "metrics.token"
    file.write_text("scrape-me\n")
    desk = api_desk.Desk(tmp_path, {"metrics_token_file": str(file)})
    with api_desk.serving(desk) as live, httpx.Client(base_url=live.url) as client:
        assert client.get("/metrics", headers=bearer("scrape-me")).status_code == 200
        assert client.get("/api/v1/stats", headers=bearer("scrape-me")).status_code == 401
        file.write_text("")
        assert client.get("/metrics", headers=bearer("scrape-me")).status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer"}).status_code == 401
    desk.close()


def test_metrics_are_open_where_the_settings_say_so(tmp_path: Path) -> None:
    desk = api_desk.Desk(tmp_path, {"open_metrics": True})
    with api_desk.serving(desk) as live:
        assert httpx.get(f"{live.url}/metrics").status_code == 200
    desk.close()
