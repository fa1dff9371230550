"""What an operator can set of the agents."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


def _doc(text: str, *, secret: bool = False) -> dict[str, str | bool]:
    return {"doc": text, "secret": secret}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the agents; each has its default, its type and a line of explanation."""

    host: str = field(default="127.0.0.1", metadata=_doc("Address of the agents' HTTP interface."))
    port: int = field(
        default=4041,
        metadata=_doc("Port of provisioning, OCPI, health and metrics; 0 takes a free one."),
    )
    http_port: int = field(
        default=7896,
        metadata=_doc("Port of JSON and UltraLight measures over HTTP; 0 takes a free one."),
    )
    public_url: str = field(
        default="",
        metadata=_doc("Root under which the broker reaches `port`; empty is host and port."),
    )
    data_dir: Path = field(
        default=Path("rigel-data"),
        metadata=_doc("Directory of the registry and of each agent's spool."),
    )
    max_body: int = field(
        default=1_048_576, metadata=_doc("Largest request body or MQTT payload taken, in bytes.")
    )

    broker_url: str = field(
        default="http://127.0.0.1:1026", metadata=_doc("Root of the NGSI-LD broker to write to.")
    )
    broker_timeout: float = field(
        default=30.0, metadata=_doc("Seconds the broker has to answer a batch.")
    )
    broker_batch: int = field(default=500, metadata=_doc("Most measures sent in one request."))
    broker_requests: int = field(default=2, metadata=_doc("Most requests to the broker at a time."))
    broker_repeats: bool = field(
        default=False,
        metadata=_doc(
            "Whether a request may carry several measures of one entity, as Rigel's broker takes "
            "them; always so under `rigel up` with its own broker."
        ),
    )
    tenant: str = field(
        default="", metadata=_doc("Tenant of what is not provisioned per device, such as OCPI.")
    )
    ld_context: str = field(
        default="",
        metadata=_doc("URL of the @context of all entities; empty means the broker's own copy."),
    )
    retry_first: float = field(
        default=1.0, metadata=_doc("Seconds to wait after the first failure; doubled each time.")
    )
    retry_limit: float = field(
        default=60.0, metadata=_doc("Most seconds to wait between two tries.")
    )

    spool_max_measures: int = field(
        default=1_000_000,
        metadata=_doc("Measures a spool holds before it refuses, so that their source keeps them."),
    )
    spool_max_age: float = field(
        default=604_800.0,
        metadata=_doc("Seconds a measure waits for the broker before it is lost."),
    )
    duplicate_window: float = field(
        default=172_800.0, metadata=_doc("Seconds for which the same measure is known again.")
    )
    waiting_room_size: int = field(
        default=10_000, metadata=_doc("Measures of unknown devices kept; the oldest go first.")
    )
    dead_letters_size: int = field(
        default=10_000, metadata=_doc("Unusable measures and entities kept; the oldest go first.")
    )
    sweep_interval: float = field(
        default=60.0, metadata=_doc("Seconds between two looks for what is too old.")
    )

    command_expiry: float = field(
        default=86_400.0,
        metadata=_doc("Seconds until a command is given up that nobody answered or fetched."),
    )
    command_timeout: float = field(
        default=10.0, metadata=_doc("Seconds a device or its network has to take a command.")
    )

    command_subscriptions: bool = field(
        default=True,
        metadata=_doc(
            "Whether the agents subscribe to command attributes at the broker; without that, "
            "commands come by `/iot/commands` and from brokers that forward them."
        ),
    )
    command_check_interval: float = field(
        default=60.0,
        metadata=_doc("Seconds between two checks that these subscriptions exist."),
    )
    command_qos: Literal[0, 1, 2] = field(
        default=1, metadata=_doc("MQTT quality of service of commands that set none of their own.")
    )
    command_retain: bool = field(
        default=False, metadata=_doc("Whether the MQTT broker keeps a command for later.")
    )
    egress_allow: str = field(
        default="",
        metadata=_doc(
            "Host names, addresses and networks, comma-separated, that commands may be sent to by "
            "HTTP although they are private."
        ),
    )
    egress_allow_private: bool = field(
        default=False, metadata=_doc("Let commands go to private and loopback addresses.")
    )
    default_keys: tuple[str, ...] = field(
        default=("1234", "TEF"),
        metadata=_doc(
            "Keys of devices that are provisioned without one: JSON's first, UltraLight's last."
        ),
    )
    default_transport: Literal["MQTT", "HTTP"] = field(
        default="MQTT", metadata=_doc("Transport of devices that are provisioned without one.")
    )

    vitals_interval: float = field(
        default=5.0,
        metadata=_doc("Seconds between two notes on disk of when devices were heard last."),
    )
    keep_newer: bool = field(
        default=False,
        metadata=_doc(
            "Whether measures older than what the entity shows become history only; needs Rigel's"
            " broker."
        ),
    )
    import_max_body: int = field(
        default=33_554_432, metadata=_doc("Largest CSV file of devices taken, in bytes.")
    )
    autoprovision_limit: int = field(
        default=10_000,
        metadata=_doc(
            "Devices a service group may have and still take in unknown ones; 0 takes in none."
        ),
    )
    relax_template_validation: bool = field(
        default=False,
        metadata=_doc("Whether any character may stand in an `object_id`, as OPC UA needs it."),
    )
    mappings: tuple[Path, ...] = field(
        default=(), metadata=_doc("Directories of further mapping files, before those shipped.")
    )
    codecs: tuple[Path, ...] = field(
        default=(), metadata=_doc("Directories of codec scripts that devices and mappings name.")
    )
    codec_seconds: float = field(
        default=0.1, metadata=_doc("Seconds of computing a codec script has for one frame.")
    )
    codec_memory: int = field(
        default=16_777_216, metadata=_doc("Bytes of memory a codec script may use.")
    )
    validation: Literal["off", "warn", "reject"] = field(
        default="warn", metadata=_doc("What is done when an entity breaks its Smart Data Model.")
    )
    validation_of: tuple[str, ...] = field(
        default=(), metadata=_doc("The same for single types, each as `Type=mode`.")
    )

    mqtt_url: str = field(
        default="",
        metadata=_doc(
            "MQTT broker, such as mqtts://user:password@host:8883; empty starts the embedded one.",
            secret=True,
        ),
    )
    mqtt_version: Literal["auto", "5", "3.1.1"] = field(
        default="auto", metadata=_doc("MQTT version; `auto` tries 5 first.")
    )
    mqtt_client_id: str = field(
        default="", metadata=_doc("Client id; empty takes one that stays the same for a data_dir.")
    )
    mqtt_share: str = field(
        default="",
        metadata=_doc("Name of the shared subscription by which several instances share the load."),
    )
    mqtt_in_flight: int = field(
        default=1000, metadata=_doc("Messages taken from the MQTT broker before one is durable.")
    )
    mqtt_session_expiry: int = field(
        default=604_800,
        metadata=_doc("Seconds the MQTT broker shall keep messages while the agent is away."),
    )
    mqtt_ca_file: Path | None = field(
        default=None, metadata=_doc("CA certificates for an mqtts:// URL; default is the system's.")
    )
    mqtt_cert_file: Path | None = field(
        default=None, metadata=_doc("Client certificate for an mqtts:// URL.")
    )
    mqtt_key_file: Path | None = field(
        default=None, metadata=_doc("Key of the client certificate.")
    )
    mqtt_embedded_host: str = field(
        default="127.0.0.1", metadata=_doc("Address of the embedded MQTT broker.")
    )
    mqtt_embedded_port: int = field(
        default=1883, metadata=_doc("Port of the embedded MQTT broker; 0 takes a free one.")
    )

    mqtt_unprefixed: bool = field(
        default=False,
        metadata=_doc(
            "Whether devices may leave out `json` or `ul` in `/json/<apikey>/<device>/attrs`."
        ),
    )
    mqtt_leading_slash: bool = field(
        default=True, metadata=_doc("Whether topics to devices begin with a slash.")
    )

    lorawan_topics: tuple[str, ...] = field(
        default=("application/+/device/+/event/+",),
        metadata=_doc(
            "MQTT topic filters of LoRaWAN network servers' events, each as `network=filter`;"
            " without a network it is `chirpstack`."
        ),
    )
    lorawan_http_token: str = field(
        default="",
        metadata=_doc(
            "Token of the network servers' HTTP integrations, below `/lorawan/`; empty closes them."
        ),
    )

    lorawan_servers: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_doc(
            "MQTT servers of single LoRaWAN networks, beside `mqtt_url`, each as `network=url`.",
            secret=True,
        ),
    )
    lorawan_downlinks: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_doc(
            "Where network servers take downlinks, each as `network=URL` or `network=MQTT topic`; "
            "without one, downlinks go the way the uplinks came.",
            secret=True,
        ),
    )
    lorawan_downlink_tokens: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_doc("Keys for the URLs in `lorawan_downlinks`, each as `network=key`."),
    )

    ocpi_tokens: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_doc("Tokens of the parties that may push, each as `ES*MOB=token`.", secret=True),
    )
    ocpi_tokens_file: Path | None = field(
        default=None,
        metadata=_doc("File of further parties and tokens, one `ES*MOB=token` a line."),
    )
    ocpi_base_path: str = field(
        default="/ocpi/receiver", metadata=_doc("Path of the OCPI receiver interfaces.")
    )
    ocpi_parties_file: Path | None = field(
        default=None,
        metadata=_doc(
            "YAML file of the OCPI parties to pull from and to register with, see the how-to."
        ),
    )
    ocpi_party: str = field(
        default="",
        metadata=_doc("Country code and party id that we register with, such as ES*CTY."),
    )
    ocpi_name: str = field(
        default="Rigel", metadata=_doc("Name of the business that we register with.")
    )
    ocpi_keep_days: float = field(
        default=90.0,
        metadata=_doc(
            "Days that an OCPI Session or CDR is known after its last change; 0 for ever. Its "
            "entity stays."
        ),
    )
    ocpi_role: Literal["NSP", "EMSP", "NAP", "HUB", "OTHER"] = field(
        default="NSP", metadata=_doc("Role that we register with.")
    )
