"""What the demonstration shows: a progress bar while it runs, and a summary of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from broker.client import Client
from rigel.demo.city import TIME_ZONE
from rigel.demo.replay import Tallies
from rigel.demo.story import Story
from rigel.up import Running, addresses

_LOCAL: Final = ZoneInfo(TIME_ZONE)
_UNITS: Final = {"MIN": " min", "LTR": " l"}
_LARGE: Final = 1000
_ALERTS_SHOWN: Final = 5
_FAULTS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the replay brought about.

    Attributes:
        entities: how many the broker holds, by type.
        indicators: the KeyPerformanceIndicator entities.
        alerts: the Alert entities.
        arrived: measures that the broker took, by agent.
        faults: what is not in the broker as it was sent, or was not acknowledged.
        checked: how many attributes were compared with what was sent.
        seconds: how long the replay took.
    """

    entities: Mapping[str, int]
    indicators: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    arrived: Mapping[str, int]
    faults: Sequence[str]
    checked: int
    seconds: float


async def count_entities(client: Client) -> Mapping[str, int]:
    """Return how many entities there are of each type."""
    listed = await client.request("GET", "/types")
    return {
        kind: len([entity async for entity in client.query_entities(type=kind, pick="id")])
        for kind in sorted(listed["typeList"])
    }


@contextmanager
def progress(
    console: Console, story: Story, tallies: Tallies
) -> Iterator[Callable[[datetime], None]]:
    """Show how far the replay is; yields the function to be told."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("Replaying", total=(story.end - story.start).total_seconds(), shown="")

        def passed(at: datetime) -> None:
            bars.update(
                bar,
                completed=(at - story.start).total_seconds(),
                shown=f"{_shown(at)}, {tallies.sent} sent, {tallies.acknowledged} acknowledged",
            )

        yield passed


def show(console: Console, outcome: Outcome, tallies: Tallies) -> None:
    """Print what came of the replay."""
    console.print(_entities(outcome), _measures(outcome, tallies), sep="\n")
    console.print(_indicators(outcome.indicators))
    _show_alerts(console, outcome.alerts)
    if not outcome.faults:
        console.print(
            f"[green]All {tallies.sent} measures arrived:[/] the broker holds the last state of "
            f"every device and charging point ({outcome.checked} compared over NGSI-LD)."
        )
        return
    console.print(f"[red]{len(outcome.faults)} differ from what was sent:[/]")
    for fault in outcome.faults[:_FAULTS_SHOWN]:
        console.print(f"  {fault}", markup=False, highlight=False)
    if len(outcome.faults) > _FAULTS_SHOWN:
        console.print(f"  … and {len(outcome.faults) - _FAULTS_SHOWN} more")


def show_where(console: Console, running: Running, ld_context: str) -> None:
    """Print what is running where, and what to try."""
    table = Table.grid(padding=(0, 2))
    for name, url in addresses(running).items():
        table.add_row(name, url)
    console.print(table)
    link = f'<{ld_context}>; rel="http://www.w3.org/ns/json-ld#context"'
    root = f"{running.broker}/ngsi-ld/v1"
    console.print("\nTry:", style="bold")
    for line in (
        f"LINK='Link: {link}'",
        f'curl -H "$LINK" "{root}/entities?type=ParkingSpot&q=status==%22occupied%22&limit=3"',
        f'curl -H "$LINK" "{root}/entities?type=KeyPerformanceIndicator&format=simplified"',
        f'curl -H "$LINK" "{root}/entities?type=Alert&format=simplified"',
        f"curl {running.agents}/metrics",
    ):
        console.print("  " + line, markup=False, highlight=False, soft_wrap=True)


def _entities(outcome: Outcome) -> Table:
    table = Table(title="Entities", title_justify="left", show_header=False)
    for kind, number in outcome.entities.items():
        table.add_row(kind, str(number))
    return table


def _measures(outcome: Outcome, tallies: Tallies) -> Table:
    table = Table("", "sent", "acknowledged", "arrived", title="Measures", title_justify="left")
    for name, tally, agent in (
        ("LoRaWAN over MQTT", tallies.mqtt, "lorawan"),
        ("OCPI over HTTP", tallies.ocpi, "ocpi"),
    ):
        row = (tally.sent, tally.acknowledged, outcome.arrived[agent])
        table.add_row(name, *map(str, row))
    table.caption = f"in {outcome.seconds:.0f} seconds"
    return table


def _indicators(indicators: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("indicator", "of", "day", "value", "now", title="KPIs", title_justify="left")
    for indicator in sorted(indicators, key=lambda found: str(found["id"])):
        table.add_row(
            str(_value(indicator, "name")),
            str(indicator.get("refEntity", {}).get("object", "")).rpartition(":")[2],
            str((_value(indicator, "calculationPeriod") or {}).get("from", "")),
            _measured(indicator, "kpiValue"),
            _measured(indicator, "runningValue"),
        )
    return table


def _measured(indicator: Mapping[str, Any], attribute: str) -> str:
    value = _value(indicator, attribute)
    unit = _UNITS.get(indicator.get(attribute, {}).get("unitCode", ""), "")
    return "" if value is None else f"{value:{'.4g' if value < _LARGE else '.0f'}}{unit}"


def _value(entity: Mapping[str, Any], attribute: str) -> Any:
    return entity.get(attribute, {}).get("value")


def _show_alerts(console: Console, alerts: Sequence[Mapping[str, Any]]) -> None:
    standing = [alert for alert in alerts if _value(alert, "alertState") == "open"]
    cleared = len(alerts) - len(standing)
    console.print(f"Alerts: {len(alerts)} raised, {cleared} of them cleared again", style="bold")
    for alert in standing[:_ALERTS_SHOWN]:
        source = str(alert.get("alertSource", {}).get("object", "")).removeprefix("urn:ngsi-ld:")
        since = _local(str((_value(alert, "validFrom") or {}).get("@value", "")))
        said = f"  {source} since {since}: {_value(alert, 'name')}"
        console.print(said, markup=False, highlight=False)
    if len(standing) > _ALERTS_SHOWN:
        console.print(f"  … and {len(standing) - _ALERTS_SHOWN} more that stand")


def _local(moment: str) -> str:
    return _shown(datetime.fromisoformat(moment)) if moment else "?"


def _shown(moment: datetime) -> str:
    return moment.astimezone(_LOCAL).strftime("%a %d %b %H:%M")
