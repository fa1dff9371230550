"""What the demonstration puts on the wire has the shape of ChirpStack v4 and OCPI 2.2.1."""

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from rigel.demo import chirpstack
from rigel.demo.city import City, build_city
from rigel.demo.ocpi import location
from rigel.demo.story import Uplink

AT = datetime(2026, 6, 17, 8, 15, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def city() -> City:
    return build_city()


def decoded(uplink: Uplink) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(chirpstack.message(uplink, session="01a2b3c4"))
    return document


def test_an_uplink_says_who_sent_what_and_when() -> None:
    document = decoded(Uplink(AT, "02d1000000000001", "tps110", 7, 1, b"\x01"))

    assert document["deviceInfo"]["devEui"] == "02d1000000000001"
    assert document["deviceInfo"]["deviceProfileName"] == "tps110"
    assert document["time"] == "2026-06-17T08:15:02.000+00:00"
    assert (document["devAddr"], document["fCnt"], document["fPort"]) == ("01a2b3c4", 7, 1)
    assert base64.b64decode(document["data"]) == b"\x01"


def test_the_first_frame_has_no_counter_because_defaults_are_left_out() -> None:
    assert "fCnt" not in decoded(Uplink(AT, "02d1000000000001", "tps110", 0, 1, b"\x01"))


def test_each_frame_of_each_session_has_an_id_of_its_own() -> None:
    first = Uplink(AT, "02d1000000000001", "tps110", 7, 1, b"\x01")
    second = Uplink(AT, "02d1000000000001", "tps110", 8, 1, b"\x01")
    messages = [
        chirpstack.message(first, session="01a2b3c4"),
        chirpstack.message(second, session="01a2b3c4"),
        chirpstack.message(first, session="01a2b3c5"),
    ]

    assert len({msgspec.json.decode(message)["deduplicationId"] for message in messages}) == 3


def test_the_topic_names_the_device() -> None:
    assert chirpstack.topic("02d1000000000001").endswith("/device/02d1000000000001/event/up")


def test_a_location_has_two_free_evses_at_the_bays_they_serve(city: City) -> None:
    document = location(city.stations[0], city, AT)

    assert (document["country_code"], document["party_id"], document["id"]) == (
        "FR",
        "DEM",
        "CH-01",
    )
    assert [evse["status"] for evse in document["evses"]] == ["AVAILABLE", "AVAILABLE"]
    assert [evse["physical_reference"] for evse in document["evses"]] == ["marche:09", "marche:10"]
    assert document["evses"][0]["last_updated"] == "2026-06-17T08:15:02Z"


def test_coordinates_are_texts_as_ocpi_wants_them(city: City) -> None:
    coordinates = location(city.stations[0], city, AT)["coordinates"]

    assert coordinates == {"latitude": "46.580627", "longitude": "0.341478"}
