"""Sites, devices and links as the files of a region folder: the same content gives the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping

from devices.model import Device, Link, Site
from devices.regiontables import DEVICES, SITES

Row = Mapping[str, str]
"""A row's cells by column, as a file has them."""


def site_row(site: Site) -> Row:
    """A site's cells."""
    place = {"lon": _degrees(site.lon), "lat": _degrees(site.lat)}
    return {
        "id": site.id,
        "name": site.name,
        "kind": site.kind,
        "parent": site.parent,
        "agency": site.agency,
        **place,
        "feeder": site.feeder,
        "hours": site.hours,
        "priority": str(site.priority) if site.priority else "",
        "alias": ";".join(site.alias),
    }


def device_row(device: Device) -> Row:
    """A device's cells."""
    return {
        "site": device.site,
        "id": device.id,
        "kind": device.kind,
        "via": device.via,
        "actuators": ";".join(device.actuators),
        "labels": ";".join(f"{key}={value}" for key, value in device.labels.items()),
    }


def sites_csv(sites: Iterable[Site]) -> bytes:
    """sites.csv."""
    return _csv(SITES, map(site_row, sites))


def devices_csv(devices: Iterable[Device]) -> bytes:
    """devices.csv."""
    return _csv(DEVICES, map(device_row, devices))


def properties(link: Link) -> dict[str, object]:
    """A link's properties, in the order of the file."""
    return {
        "id": link.id,
        "from": link.a,
        "to": link.b,
        "kind": link.kind,
        "length_km": link.length_km,
        "cable": link.cable,
        "cores": link.cores,
        "owner": link.owner,
        "source": link.source,
    }


def links_geojson(links: Iterable[Link]) -> bytes:
    """links.geojson, one link a line, so that a line names a link and a change is one line."""
    lines = ",\n".join(_feature(link) for link in links)
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'.encode()


def _feature(link: Link) -> str:
    geometry = {"type": "LineString", "coordinates": [list(point) for point in link.path]}
    feature = {"type": "Feature", "properties": properties(link), "geometry": geometry}
    return json.dumps(feature, ensure_ascii=False, separators=(",", ":"))


def _csv(columns: Iterable[str], rows: Iterable[Row]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _degrees(value: float | None) -> str:
    return "" if value is None else f"{value:.7f}".rstrip("0").rstrip(".")
