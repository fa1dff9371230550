"""What an operator can set of the broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the broker; each has its default, its type and a line of explanation."""

    host: str = field(default="127.0.0.1", metadata=_doc("Address to listen on."))
    port: int = field(default=1026, metadata=_doc("Port to listen on; 0 takes a free one."))
    public_url: str = field(
        default="",
        metadata=_doc(
            "URL this broker is reached under, such as `https://broker.example`, for the addresses"
            " of @contexts that it serves; the listening address by default."
        ),
    )
    data_dir: Path = field(
        default=Path("rigel-data"), metadata=_doc("Directory of the broker's file, `broker.db`.")
    )
    max_body: int = field(
        default=10_485_760, metadata=_doc("Largest request body taken, in bytes.")
    )
    default_instances: int = field(
        default=15,
        metadata=_doc(
            "Past instances served of each attribute in one answer, unless asked otherwise."
        ),
    )
    max_instances: int = field(default=10_000, metadata=_doc("Largest `instances` of a request."))
    retention: tuple[str, ...] = field(
        default=(),
        metadata=_doc(
            "How long history is kept, such as `P5Y`; `Type=P90D`, `@tenant=P1Y` and"
            " `Type@tenant=P1M` say so for some. What is not named is kept for ever."
        ),
    )
    max_limit: int = field(default=1000, metadata=_doc("Largest `limit` of a page."))
    default_limit: int = field(default=20, metadata=_doc("`limit` of a page when none is given."))
    max_batch: int = field(default=1000, metadata=_doc("Most entities in one batch operation."))
    cached_entities: int = field(default=20_000, metadata=_doc("Entities kept decoded in memory."))
    max_queued_writes: int = field(
        default=10_000,
        metadata=_doc("Writes that may wait for the store before more are answered 503."),
    )
    max_waiting_notifications: int = field(
        default=1_000_000,
        metadata=_doc(
            "Notifications that may wait for delivery before writes are answered 503, so that none"
            " is dropped."
        ),
    )
    max_dead_letters: int = field(
        default=100_000,
        metadata=_doc(
            "Notifications that were given up and are kept. Of more the oldest are dropped and"
            " counted, those of the subscription that has the most."
        ),
    )
    readers: int = field(default=2, metadata=_doc("Threads that read from the store."))
    sweep_interval: float = field(
        default=2.0, metadata=_doc("Seconds between two sweeps of what has expired.")
    )
    egress_allow: str = field(
        default="",
        metadata=_doc(
            "Hosts, addresses and networks that may be called although they are private, by comma."
        ),
    )
    egress_allow_private: bool = field(
        default=False,
        metadata=_doc("Whether every loopback and private address may be called."),
    )
    context_mirror: Path | None = field(
        default=None,
        metadata=_doc("Directory with copies of remote @contexts, named in its `index.json`."),
    )
    context_fetch: bool = field(
        default=True, metadata=_doc("Whether an unknown @context may be fetched at all.")
    )
    notification_timeout: float = field(
        default=5.0, metadata=_doc("Seconds a notification endpoint has to answer.")
    )
    notification_attempts: int = field(
        default=10, metadata=_doc("Attempts before a notification goes to the dead letters.")
    )
    notification_ca: Path | None = field(
        default=None,
        metadata=_doc(
            "File of certificate authorities (PEM) that https and mqtts endpoints may be certified"
            " by, besides the system's."
        ),
    )
    notification_certificate: Path | None = field(
        default=None,
        metadata=_doc(
            "File with a certificate and its key (PEM) for https and mqtts endpoints that ask the"
            " broker who it is."
        ),
    )
    stream_window: float = field(
        default=3600.0,
        metadata=_doc("Seconds for which a stream can be resumed where it was left."),
    )
    stream_heartbeat: float = field(
        default=15.0, metadata=_doc("Seconds of silence after which a stream gives a sign of life.")
    )
    stream_patience: float = field(
        default=10.0, metadata=_doc("Seconds a reader may block its stream before it is cut off.")
    )
    max_streams: int = field(
        default=1000,
        metadata=_doc("Different streams that may be open; each costs writes that match it a row."),
    )
    max_stream_readers: int = field(
        default=10_000, metadata=_doc("Connections that may read streams at once.")
    )
    cors_origins: str = field(
        default="", metadata=_doc("Origins that browsers may call from, by comma; `*` is any.")
    )
