"""How busy a parking bay is at which hour, and how long cars stay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The day of a bay.

    Attributes:
        arrivals: cars that would take a free bay, per hour, for each hour of the local day.
        stay: the median stay in minutes.
        spread: the standard deviation of the logarithm of the stay.
        overnight: the share of ordinary bays that are taken at midnight.
    """

    arrivals: tuple[float, ...]
    stay: float
    spread: float
    overnight: float

    def __post_init__(self) -> None:
        """Refuse a day that has not 24 hours."""
        if len(self.arrivals) != _HOURS:
            raise ValueError(f"a day has {_HOURS} hours, not {len(self.arrivals)}")

    def next_arrival(self, hour: float, random: Random) -> float:
        """Return after how many hours the next car takes a bay which is free at `hour`.

        The rate changes over the day, so candidates are drawn at the day's highest rate and kept
        with the share that the rate of their hour has of it.
        """
        highest = max(self.arrivals)
        waited = 0.0
        while True:
            waited += random.expovariate(highest)
            rate = self.arrivals[int(hour + waited) % _HOURS]
            if random.random() * highest < rate:
                return waited

    def next_stay(self, random: Random) -> float:
        """Return how many minutes a car stays."""
        minutes = random.lognormvariate(math.log(self.stay), self.spread)
        return min(max(minutes, _SHORTEST_STAY), _LONGEST_STAY)


_HOURS: Final = 24
_SHORTEST_STAY: Final = 4.0
_LONGEST_STAY: Final = 600.0


def _day(
    night: float, morning: float, noon: float, afternoon: float, evening: float
) -> tuple[float, ...]:
    """Spread five rates over the hours: up to 7, 11, 14, 18 and 22 o'clock, then night again."""
    parts = ((night, 7), (morning, 4), (noon, 3), (afternoon, 4), (evening, 4), (night, 2))
    return tuple(rate for rate, hours in parts for _ in range(hours))


RHYTHMS: Final = {
    "market": Rhythm(_day(0.01, 1.6, 0.8, 1.2, 0.4), stay=42, spread=0.6, overnight=0.1),
    "commuters": Rhythm(_day(0.03, 1.5, 0.3, 0.3, 0.15), stay=380, spread=0.5, overnight=0.3),
    "visitors": Rhythm(_day(0.02, 0.4, 1.1, 0.9, 0.9), stay=75, spread=0.7, overnight=0.2),
}
