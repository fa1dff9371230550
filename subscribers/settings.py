"""What an operator can set of the rule and KPI subscribers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the subscribers; each has its default, its type and a line of explanation."""

    broker_url: str = field(
        default="http://localhost:1026", metadata=_doc("Root of the NGSI-LD broker.")
    )
    tenant: str = field(default="", metadata=_doc("Tenant of the broker; empty is the default."))
    ld_context: str | None = field(
        default=None,
        metadata=_doc("URL of the @context the definitions' names are short for; none is core."),
    )
    host: str = field(default="127.0.0.1", metadata=_doc("Address to listen on for notifications."))
    port: int = field(
        default=4050, metadata=_doc("Port to listen on for notifications; 0 takes a free one.")
    )
    public_url: str = field(
        default="",
        metadata=_doc("Root under which the broker reaches this process; empty is host and port."),
    )
    name: str = field(
        default="rigel",
        metadata=_doc("Begins the ids of the subscriptions; one for each installation."),
    )
    data_dir: Path = field(
        default=Path("rigel-data"),
        metadata=_doc("Directory of the files `rules.db` and `kpi.db`."),
    )
    rules_dirs: tuple[Path, ...] = field(
        default=(), metadata=_doc("Directories with rules, besides those of the package.")
    )
    kpi_dirs: tuple[Path, ...] = field(
        default=(), metadata=_doc("Directories with KPIs, besides those of the package.")
    )
    packaged: bool = field(
        default=True, metadata=_doc("Whether the rules and KPIs of the package are used.")
    )
    time_zone: str = field(
        default="Europe/Paris", metadata=_doc("Whose days KPIs are about, unless they say so.")
    )
    lateness: float = field(
        default=0.0,
        metadata=_doc(
            "Seconds of observed time that every rule and KPI allows for late data at least; for "
            "replays that are faster than life."
        ),
    )
    clock_tolerance: float = field(
        default=300.0,
        metadata=_doc("Seconds an observation may lie in the future before it is refused."),
    )
    tick_interval: float = field(
        default=1.0, metadata=_doc("Seconds between two looks at what has become due.")
    )
    running_interval: float = field(
        default=10.0,
        metadata=_doc("Seconds between two values of a window that is still open; 0 is never."),
    )
    check_interval: float = field(
        default=60.0, metadata=_doc("Seconds between two checks that the subscriptions exist.")
    )
    reconcile_interval: float = field(
        default=600.0,
        metadata=_doc("Seconds between two comparisons with what the broker holds."),
    )
    catch_up: float = field(
        default=75.0,
        metadata=_doc(
            "Seconds without news after which it is no longer expected that the broker still tells "
            "what was missed while this process was down; the present state is taken instead."
        ),
    )
    broker_timeout: float = field(
        default=10.0, metadata=_doc("Seconds the broker has to answer a request.")
    )
    max_waiting: int = field(
        default=2000,
        metadata=_doc("Notifications that may wait to be durable before more are answered 503."),
    )
    max_body: int = field(
        default=10_485_760, metadata=_doc("Largest notification taken, in bytes.")
    )
