"""Distances on the ground, and what lies in an outline."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import geo, geojson
from devices.geo import Outline
from devices.problems import Problem

SQUARE = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0))
HOLE = ((1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0), (1.0, 1.0))
degrees = st.tuples(st.floats(-179, 179), st.floats(-89, 89))


def test_a_degree_of_a_great_circle_is_111_kilometres() -> None:
    assert geo.distance_km((100.0, 0.0), (101.0, 0.0)) == pytest.approx(111.195, abs=0.001)
    assert geo.distance_km((100.0, 60.0), (101.0, 60.0)) == pytest.approx(55.6, abs=0.01)
    assert geo.path_km([(0, 0), (1, 0), (1, 1)]) == pytest.approx(2 * 111.195, abs=0.01)


@given(degrees, degrees)
def test_a_distance_is_the_same_both_ways_and_never_more_than_half_round(a: geo.Point, b: geo.Point) -> None:
    there = geo.distance_km(a, b)
    assert there == pytest.approx(geo.distance_km(b, a))
    assert 0 <= there <= math.pi * 6371.01
    assert geo.distance_km(a, a) == 0


@given(degrees, degrees, degrees)
def test_no_way_round_is_shorter(a: geo.Point, b: geo.Point, c: geo.Point) -> None:
    assert geo.distance_km(a, c) <= geo.path_km([a, b, c]) + 1e-6


def test_a_hole_is_outside_and_an_island_inside() -> None:
    island = tuple((lon + 10, lat) for lon, lat in SQUARE)
    outline = Outline.of([(SQUARE, HOLE), (island,)])
    assert [outline.holds(point) for point in [(0.5, 0.5), (1.5, 1.5), (12, 2), (7, 2), (-1, 2)]] == [
        True, False, True, False, False,
    ]  # fmt: skip


@given(st.floats(-5, 9), st.floats(-5, 9))
def test_a_square_holds_what_is_between_its_sides(lon: float, lat: float) -> None:
    inside = Outline.of([(SQUARE,)]).holds((lon, lat))
    assert inside == (0 < lon < 4 and 0 < lat < 4) or lon in {0, 4} or lat in {0, 4}


def test_the_edge_is_as_far_as_it_is() -> None:
    outline = Outline.of([(SQUARE,)])
    assert outline.edge_km((2.0, 4.1)) == pytest.approx(11.12, abs=0.02)
    assert outline.edge_km((3.9, 2.0)) == pytest.approx(11.11, abs=0.02)
    assert outline.edge_km((4.0, 1.0)) == 0


def test_the_centre_of_a_square_is_its_middle() -> None:
    assert geo.centroid((SQUARE,)) == (2.0, 2.0)
    assert geo.centroid((((1.0, 1.0),) * 4,)) == (1.0, 1.0)


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 0]]]},
        {"type": "Polygon", "coordinates": "x"},
        {"type": "MultiPolygon", "coordinates": [[[[0, 0], [999, 0], [1, 1], [0, 0]]]]},
        {"type": "MultiPolygon", "coordinates": []},
    ],
)
def test_what_is_no_polygon_covers_nothing(geometry: object) -> None:
    assert geojson.outline(geometry) is None


def test_a_feature_is_named_by_the_line_it_begins_in() -> None:
    features = [{"type": "Feature", "n": '"features": [\n'}] * 3
    text = '{"name": [1, {"features": []}],\n\n"type":"FeatureCollection", "features" : [\n\n'
    text += ",\n".join(json.dumps(each, indent=1) for each in features) + "]}"
    problems: list[Problem] = []
    found = geojson.features("f", text.encode(), problems)
    assert [found.at(index) for index in range(3)] == ["f:5", "f:9", "f:13"]
    assert not problems


@given(
    st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)), st.integers(0, 3)
)
def test_every_feature_has_a_line_however_the_file_is_laid_out(items: list[object], indent: int) -> None:
    tree = {"a": items, "type": "FeatureCollection", "features": items, "z": {}}
    text = json.dumps(tree, indent=indent or None)
    found = geojson.features("f", text.encode(), [])
    lines = [int(found.at(index).partition(":")[2]) for index in range(len(items))]
    assert len(lines) == len(items)
    assert lines == sorted(lines)
