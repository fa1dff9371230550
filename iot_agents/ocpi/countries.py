"""Roughly where countries lie, to tell when latitude and longitude were exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Box = tuple[float, float, float, float]

BOXES: Final[Mapping[str, Box]] = {
    # ISO 3166 alpha-3: west, south, east, north, without overseas territories.
    "ALB": (19.0, 39.5, 21.2, 42.8),
    "AND": (1.3, 42.3, 1.9, 42.8),
    "AUT": (9.4, 46.2, 17.3, 49.2),
    "BEL": (2.3, 49.3, 6.5, 51.7),
    "BGR": (22.2, 41.1, 28.8, 44.3),
    "BIH": (15.6, 42.4, 19.8, 45.4),
    "CHE": (5.8, 45.6, 10.6, 47.9),
    "CYP": (32.1, 34.4, 34.8, 35.8),
    "CZE": (12.0, 48.4, 19.0, 51.2),
    "DEU": (5.7, 47.1, 15.2, 55.2),
    "DNK": (7.9, 54.4, 15.3, 57.9),
    "ESP": (-18.4, 27.5, 4.5, 43.9),
    "EST": (21.6, 57.4, 28.3, 59.8),
    "FIN": (19.0, 59.6, 31.7, 70.2),
    "FRA": (-5.3, 41.2, 9.7, 51.2),
    "GBR": (-8.8, 49.7, 1.9, 61.0),
    "GRC": (19.2, 34.7, 29.8, 41.9),
    "HRV": (13.3, 42.3, 19.6, 46.7),
    "HUN": (16.0, 45.6, 23.0, 48.7),
    "IRL": (-10.8, 51.3, -5.9, 55.5),
    "ISL": (-24.7, 63.1, -13.3, 66.7),
    "ITA": (6.5, 35.4, 18.7, 47.2),
    "LIE": (9.4, 47.0, 9.7, 47.3),
    "LTU": (20.8, 53.8, 26.9, 56.5),
    "LUX": (5.6, 49.4, 6.6, 50.2),
    "LVA": (20.8, 55.6, 28.3, 58.2),
    "MCO": (7.3, 43.7, 7.5, 43.8),
    "MLT": (14.1, 35.7, 14.7, 36.2),
    "MNE": (18.4, 41.8, 20.4, 43.6),
    "NLD": (3.2, 50.7, 7.3, 53.7),
    "NOR": (4.0, 57.8, 31.3, 71.3),
    "POL": (14.0, 48.9, 24.3, 55.0),
    "PRT": (-31.4, 32.3, -6.1, 42.2),
    "ROU": (20.2, 43.5, 29.8, 48.4),
    "SRB": (18.7, 41.8, 23.1, 46.3),
    "SVK": (16.8, 47.7, 22.7, 49.7),
    "SVN": (13.3, 45.4, 16.7, 46.9),
    "SWE": (10.9, 55.2, 24.2, 69.2),
    "UKR": (22.1, 44.3, 40.3, 52.4),
}


def exchanged(latitude: float, longitude: float, country: str) -> bool:
    """Tell whether a point is right only the other way round."""
    if abs(latitude) > 90.0:  # noqa: PLR2004 - no such latitude
        return abs(longitude) <= 90.0  # noqa: PLR2004 - but one there
    box = BOXES.get(country.upper())
    if box is None:
        return False
    return not _inside(box, longitude, latitude) and _inside(box, latitude, longitude)


def _inside(box: Box, longitude: float, latitude: float) -> bool:
    west, south, east, north = box
    return west <= longitude <= east and south <= latitude <= north
