"""`nagari inventory`: what an engineer sees, and what is on the disk afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector.cli.main import app
from devices.problems import Problems

REAL = Path(__file__).parents[2] / "deploy" / "padang-pariaman"


def nagari(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["inventory", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_a_good_folder_is_summed_up_in_a_line(region_ring: Path) -> None:
    said = nagari("check", region_ring).split(": ")
    assert said[0] == "Lingkar"
    assert said[1].startswith(
        "22 sites (10 node, 8 nagari, 2 district, 1 centre, 1 health), 31 devices (11 router,"
    )
    assert said[1].endswith("5 LTE uplinks, 2 feeders")
    assert said[2].strip() == "all well"
    found = json.loads(nagari("check", region_ring, "--json"))
    assert found["problems"] == []
    assert found["fibre_km"] == {"as-built": 8.851, "plan": 16.879}


def test_problems_are_there_for_machines_too(region_ring: Path) -> None:
    with (region_ring / "sites.csv").open("a") as out:
        out.write("pole,Pole,node,,,,,,,,\nhut,Hut,shed,,,,,,,,\n")
    with pytest.raises(Problems, match=r"sites\.csv:25: kind 'shed'"):
        nagari("check", region_ring)
    found = json.loads(nagari("check", region_ring, "--json", code=2))
    assert [problem["where"].rpartition("/")[2] for problem in found["problems"]] == [
        "sites.csv:25",
        "sites.csv:24",
    ]


def test_an_import_says_what_changed_and_a_dry_run_changes_nothing(region_ring: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,alias,lon,lat\n9901012777,9901012003,100.0128,-0.5375\n")
    before = content(region_ring)
    said = nagari("import", region_ring, "--sites", tmp_path / "s.csv", "--dry-run")
    assert "~ site   9901012777  was 9901012003; moved 33.4 m" in said
    assert content(region_ring) == before
    assert nagari("import", region_ring, "--sites", tmp_path / "s.csv") == said
    assert content(region_ring).keys() == before.keys()
    assert b"9901012777,Barat,nagari" in content(region_ring)["sites.csv"]
    nagari("check", region_ring)


def test_an_import_that_fails_leaves_the_folder_as_it_was(region_ring: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("id,lon,lat\n9901012003,100.0128,-0.5375\n9901012004,101,-0.5\n")
    before = content(region_ring)
    with pytest.raises(Problems, match=r"s\.csv:3: the site 9901012004 lies .* outside"):
        nagari("import", region_ring, "--sites", tmp_path / "s.csv")
    assert content(region_ring) == before
    with pytest.raises(Problems, match="nothing to import; name --sites"):
        nagari("import", region_ring)
    with pytest.raises(Problems, match=r"none\.csv: cannot be read"):
        nagari("import", region_ring, "--sites", tmp_path / "none.csv")


def test_two_folders_are_compared(region_ring: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(region_ring, other)
    assert nagari("diff", region_ring, other).strip() == "no difference"
    nagari("import", other, "--drop", "climate-990101", "--drop", "lte-990101")
    said = nagari("diff", region_ring, other).splitlines()
    assert said[0] == "− device climate-990101"
    assert said[1] == "− link   lte-990101"
    assert said[2] == "devices −1 · links −1 · fibre 25.7 → 25.7 km, of it as-built 8.9 → 8.9 km"
    found = json.loads(nagari("diff", region_ring, other, "--json"))
    assert found["devices"] == {"added": [], "removed": ["climate-990101"], "changed": []}


def test_a_folder_is_planned_from_a_map_and_a_plan(tmp_path: Path) -> None:
    out = tmp_path / "new"
    said = nagari(
        "plan", "--boundaries", REAL / "boundaries.geojson", "--plan", REAL / "plan.toml", "--out", out
    )
    assert said.rstrip().endswith("263 km of fibre are wanted: +0.0 %")
    for name in ("sites.csv", "devices.csv", "links.geojson", "boundaries.geojson"):
        assert (out / name).read_bytes() == (REAL / name).read_bytes()
    assert "Padang Pariaman: 295 sites" in nagari("check", out)


def test_a_plan_keeps_what_is_there_and_writes_over_an_inventory_only_by_force(tmp_path: Path) -> None:
    out = tmp_path / "region"
    shutil.copytree(REAL, out)
    assert "no difference" in nagari("plan", "--out", out)
    plan = (out / "plan.toml").read_text().replace("nagari = 30 ", "nagari = 29 ")
    (out / "plan.toml").write_text(plan)
    before = content(out)
    assert "− link   lte-" in nagari("plan", "--out", out, code=1)
    assert content(out) == before
    assert "− link   lte-" in nagari("plan", "--out", out, "--dry-run")
    nagari("plan", "--out", out, "--force")
    assert content(out)["links.geojson"].count(b'"lte"') == 71
    assert content(out)["region.toml"] == before["region.toml"]
    assert (out / "rules" / "ont.toml").exists()


def test_a_missing_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"boundaries\.geojson: cannot be read"):
        nagari("plan", "--out", tmp_path)
