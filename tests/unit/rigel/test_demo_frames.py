"""The bytes of the demonstration's devices, against the published examples of their makers."""

from datetime import UTC, datetime

import pytest

from rigel.demo import frames

METER_CLOCK = datetime(2026, 9, 2, 23, 9, 34, tzinfo=UTC)


@pytest.mark.parametrize(
    ("frame", "port", "payload"),
    [
        (frames.parking_state(occupied=True), 1, "01"),
        (frames.parking_state(occupied=False), 1, "00"),
        (frames.parking_heartbeat(occupied=True, celsius=-1), 2, "01ff"),
        (frames.parking_startup(occupied=True), 3, "000000000000000000000000001d020201"),
        (frames.soil(402, tension=11.7, celsius=16.1, volts=3.109), 1, "0201920003007580a10c25"),
        (frames.water_index(5938, METER_CLOCK), 100, "01aeac986a0032170000"),
    ],
    ids=["taken", "left", "heartbeat below zero", "start-up", "soil", "water"],
)
def test_a_frame_has_the_makers_layout(frame: tuple[int, bytes], port: int, payload: str) -> None:
    assert frame == (port, bytes.fromhex(payload))
