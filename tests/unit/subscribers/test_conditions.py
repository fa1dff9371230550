from typing import Any

import msgspec
import pytest

from subscribers.common.instants import Duration
from subscribers.rules.conditions import Unfit, compile_check
from subscribers.rules.model import Condition


def condition(**operator: Any) -> Condition:
    return msgspec.convert({"attribute": "status", **operator}, Condition)


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [
        ({"is": "free"}, "free", True),
        ({"is": "free"}, "occupied", False),
        ({"is": ["free", "closed"]}, "closed", True),
        ({"is": 1}, 1.0, True),
        ({"is": 1}, True, False),
        ({"is": True}, 1, False),
        ({"is": True}, True, True),
        ({"is": "1"}, 1, False),
        ({"is": "onStreet"}, ["offStreet", "onStreet"], True),
        ({"is": "x"}, {"a": "x"}, False),
        ({"not": "charging"}, "available", True),
        ({"not": ["charging", "unknown"]}, "unknown", False),
        ({"not": "x"}, {"a": "x"}, True),
        ({"above": 30}, 30.1, True),
        ({"above": 30}, 30, False),
        ({"atLeast": 30}, 30, True),
        ({"atLeast": 30}, 29.9, False),
        ({"below": 0.2}, 0.1, True),
        ({"below": 0.2}, 0.2, False),
        ({"atMost": 0.2}, 0.2, True),
        ({"atMost": 0.2}, 0.3, False),
        ({"above": 0}, 0.1, True),
    ],
)
def test_a_condition_is_true_of_a_value_or_not(
    operator: dict[str, Any], value: Any, *, holds: bool
) -> None:
    assert compile_check(condition(**operator))(value) is holds


@pytest.mark.parametrize("value", ["31", True, None, [31], {}], ids=str)
def test_an_order_can_only_be_asked_of_numbers(value: Any) -> None:
    check = compile_check(condition(above=30))

    with pytest.raises(Unfit, match="status: expected a number, got"):
        check(value)


def test_silence_is_true_of_no_value() -> None:
    assert not compile_check(Condition(attribute="status", silent_for=Duration(1)))("free")
