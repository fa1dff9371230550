"""What stands in the demonstration city: parking bays, charging stations, probes and meters.

The town is nameless and its devices are invented; the layout only follows a real kind of place, the
centre of a mid-sized French town with its market square, its station and its riverside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TIME_ZONE: Final = "Europe/Paris"
TOWN: Final = "Centre-ville"
POSTAL_CODE: Final = "86000"
COUNTRY: Final = "FR"
PARTY: Final = "DEM"

# One degree of latitude is 111 320 m; at this latitude one of longitude is 76 400 m.
_METRE_NORTH: Final = 1 / 111_320
_METRE_EAST: Final = 1 / 76_400
_BAYS_PER_GROUP: Final = 16
_STATIONS_PER_GROUP: Final = 4
_EVSES_PER_STATION: Final = 2
_PROBES: Final = 24
_PROBES_PER_GARDEN: Final = 6


@dataclass(frozen=True, slots=True)
class Group:
    """A parking group: bays side by side, used in the same rhythm.

    Attributes:
        key: the part of the ids that stands for the group.
        name: what the sign says.
        street: the address of its charging stations.
        longitude: of the first bay.
        latitude: of the first bay.
        rhythm: which daily rhythm its bays follow, see `rigel.demo.rhythms`.
    """

    key: str
    name: str
    street: str
    longitude: float
    latitude: float
    rhythm: str


@dataclass(frozen=True, slots=True)
class Evse:
    """One side of a charging station, which charges one car."""

    location_id: str
    uid: str


@dataclass(frozen=True, slots=True)
class Bay:
    """A parking bay with a sensor in its floor.

    Attributes:
        evse: what charges the car in this bay, None where nothing does.
    """

    group: Group
    number: int
    dev_eui: str
    longitude: float
    latitude: float
    evse: Evse | None

    @property
    def key(self) -> str:
        """The part of the entity id that stands for the bay."""
        return f"{self.group.key}:{self.number:02}"


@dataclass(frozen=True, slots=True)
class Station:
    """A charging station: one OCPI Location with its EVSEs."""

    location_id: str
    group: Group
    name: str
    longitude: float
    latitude: float
    evses: tuple[Evse, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """A soil probe below the trees of a garden.

    Attributes:
        serial: the number the maker's frames carry.
        thirst: how fast this spot dries, 1 for the average.
    """

    garden: str
    number: int
    dev_eui: str
    serial: int
    longitude: float
    latitude: float
    thirst: float

    @property
    def key(self) -> str:
        """The part of the entity id that stands for the probe."""
        return f"{self.garden}:{self.number:02}"


@dataclass(frozen=True, slots=True)
class Meter:
    """The water meter of a garden; `index` is what it stood at when the story begins, in litres."""

    garden: str
    dev_eui: str
    longitude: float
    latitude: float
    index: int


@dataclass(frozen=True, slots=True)
class City:
    """All that the demonstration replays."""

    groups: tuple[Group, ...]
    bays: tuple[Bay, ...]
    stations: tuple[Station, ...]
    probes: tuple[Probe, ...]
    meters: tuple[Meter, ...]


_GROUPS: Final = (
    Group("marche", "Place du Marché", "Place du Marché", 0.34120, 46.58060, "market"),
    Group("gare", "Parvis de la Gare", "Boulevard de la Gare", 0.33390, 46.58240, "commuters"),
    Group("quai", "Quai de la Rivière", "Quai de la Rivière", 0.34710, 46.57890, "visitors"),
)
_GARDENS: Final = (
    ("mail", 0.33920, 46.57780),
    ("parc", 0.34480, 46.57610),
    ("square", 0.33710, 46.58190),
    ("berge", 0.34880, 46.58020),
)


def build_city() -> City:
    """Lay out the city; the same one every time."""
    stations = tuple(
        _station(group, place, index)
        for place, group in enumerate(_GROUPS)
        for index in range(_STATIONS_PER_GROUP)
    )
    bays = tuple(
        _bay(group, place, number, stations)
        for place, group in enumerate(_GROUPS)
        for number in range(1, _BAYS_PER_GROUP + 1)
    )
    return City(
        _GROUPS,
        bays,
        stations,
        tuple(_probe(index) for index in range(_PROBES)),
        tuple(_meter(index) for index in range(len(_GARDENS))),
    )


def _station(group: Group, place: int, index: int) -> Station:
    location_id = f"CH-{place * _STATIONS_PER_GROUP + index + 1:02}"
    # A station stands between the two bays it serves, which are the group's last ones.
    metres = (_first_charging_bay() + _EVSES_PER_STATION * index - 0.5) * 2.5
    return Station(
        location_id,
        group,
        f"{group.name} {index + 1}",
        _east(group.longitude, metres),
        _north(group.latitude, 3.0),
        tuple(Evse(location_id, str(side + 1)) for side in range(_EVSES_PER_STATION)),
    )


def _bay(group: Group, place: int, number: int, stations: tuple[Station, ...]) -> Bay:
    own = stations[place * _STATIONS_PER_GROUP : (place + 1) * _STATIONS_PER_GROUP]
    rank = number - _first_charging_bay()
    evse = own[rank // _EVSES_PER_STATION].evses[rank % _EVSES_PER_STATION] if rank >= 0 else None
    return Bay(
        group,
        number,
        f"02d1000000{place:02x}{number:04x}",
        _east(group.longitude, (number - 1) * 2.5),
        group.latitude,
        evse,
    )


def _probe(index: int) -> Probe:
    garden, longitude, latitude = _GARDENS[index // _PROBES_PER_GARDEN]
    rank = index % _PROBES_PER_GARDEN
    return Probe(
        garden,
        rank + 1,
        f"02d200000000{index + 1:04x}",
        4_000 + index,
        _east(longitude, 12.0 * (rank % 3)),
        _north(latitude, 15.0 * (rank // 3)),
        0.7 + 0.12 * rank,
    )


def _meter(index: int) -> Meter:
    garden, longitude, latitude = _GARDENS[index]
    return Meter(
        garden, f"02d400000000{index + 1:04x}", longitude, latitude, 310_000 + 41_500 * index
    )


def _first_charging_bay() -> int:
    return _BAYS_PER_GROUP - _STATIONS_PER_GROUP * _EVSES_PER_STATION + 1


def _east(longitude: float, metres: float) -> float:
    return round(longitude + metres * _METRE_EAST, 6)


def _north(latitude: float, metres: float) -> float:
    return round(latitude + metres * _METRE_NORTH, 6)
