"""plan.toml: what the map cannot say about a region that is to be planned."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from devices import regionfiles
from devices.problems import Problem

Ident = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Text = Annotated[str, Field(min_length=1, max_length=256)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DeviceToml(_Table):
    """A device at the centre."""

    id: Ident
    kind: Text
    via: str = ""
    actuators: list[str] = []
    labels: dict[str, str] = {}


class CentreToml(_Table):
    """The data and command centre: its nagari, and the devices that others are read through."""

    id: Ident
    name: Text
    nagari: Ident
    agency: str = ""
    feeder: str = ""
    ping: Ident
    pollers: list[Ident] = Field(min_length=1)
    olt: Ident
    device: list[DeviceToml] = []


class FibreToml(_Table):
    """The fibre: route length over drawn length, and how much cable there is on a drum."""

    owner: str = ""
    slack: float = Field(1.012, ge=1, le=2)
    drum_km: float = Field(3.0, gt=0)
    total_km: float | None = Field(None, gt=0)
    tolerance_pct: float = Field(2.0, ge=0)
    cable: Ident = "KBL"
    cores: list[int] = Field([96, 48, 24], min_length=3, max_length=3)
    nagari_behind: list[int] = Field([32, 12], min_length=2, max_length=2)
    drop_cores: int = Field(4, ge=1)


class GponToml(_Table):
    """How far an OLT reaches, and how many ONTs share one of its ports."""

    reach_km: float = Field(20.0, gt=0, le=60)
    split: int = Field(32, ge=1, le=64)


class LteToml(_Table):
    """Second uplinks: whose, and for how many of the nagari."""

    providers: list[Text] = []
    nagari: int = Field(0, ge=0)


class FeederToml(_Table):
    """The power utility's lines."""

    prefix: Ident = "PLN"
    nagari: float = Field(4.5, ge=1)


class VisibilityToml(_Table):
    """How much is seen of the nagari: shares of tiers 0 to 3, and those whose tier is given."""

    shares: list[float] = Field([10, 25, 40, 25], min_length=4, max_length=4)
    fixed: dict[str, Annotated[int, Field(ge=0, le=3)]] = {}


class HealthToml(_Table):
    """Health centres: how many districts, the biggest first, have a second one; whose they are."""

    second: int = Field(8, ge=0)
    agency: str = "Dinkes"


class WordsToml(_Table):
    """How places are called: `{name}` is the district's or the nagari's."""

    office: str = "Kantor Camat {name}"
    health: str = "Puskesmas {name} (rencana)"
    splitter: str = "ODP {name}"
    joint: str = "Sambungan {name} {number}"


class AgencyToml(_Table):
    """An agency of the regency, at the centre."""

    id: Ident
    name: Text
    agency: Text
    hours: str = "Mo-Fr 08:00-16:00"
    priority: int = Field(4, ge=0, le=9999)


class GaugeToml(_Table):
    """A river gauge, in the order of the stream."""

    id: Ident
    river: Ident
    nagari: Ident
    siren: bool = False


class PlanToml(_Table):
    """plan.toml."""

    timezone: Text = "Asia/Jakarta"
    languages: list[str] = ["id", "en"]
    centre: CentreToml
    fibre: FibreToml = FibreToml()
    gpon: GponToml = GponToml()
    lte: LteToml = LteToml()
    feeders: FeederToml = FeederToml()
    visibility: VisibilityToml = VisibilityToml()
    health: HealthToml = HealthToml()
    words: WordsToml = WordsToml()
    agency: list[AgencyToml] = []
    gauge: list[GaugeToml] = []


def read(where: str, raw: bytes, nagari: set[str], problems: list[Problem]) -> PlanToml | None:
    """plan.toml, checked against the codes of the map's nagari; None if it cannot be read."""
    found = regionfiles.toml(where, raw, PlanToml, problems)
    if found is None:
        return None
    named = [("centre.nagari", found.centre.nagari)]
    named += [("visibility.fixed", code) for code in found.visibility.fixed]
    named += [(f"gauge.{index}.nagari", gauge.nagari) for index, gauge in enumerate(found.gauge)]
    for key, code in named:
        if code not in nagari:
            line = regionfiles.line_of(raw.decode("utf-8-sig"), key)
            what = f"{key} {code} is no nagari of the map"
            problems.append(Problem(f"{where}:{line}", what, "write a nagari's code, such as 1305012001"))
    if found.lte.nagari and not found.lte.providers:
        line = regionfiles.line_of(raw.decode("utf-8-sig"), "lte")
        problems.append(Problem(f"{where}:{line}", "lte has no providers", 'name one: providers = ["…"]'))
    return found
