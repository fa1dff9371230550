"""What a rule file says.

    rule: blocked-charging-point          # name, also of its alerts
    title: Bay occupied, car not charging
    subject:                              # the entity the rule looks at …
      type: EVChargingPoint
      where: [{attribute: status, not: charging}]
    linked:                               # … and optionally one it points to
      by: refParkingSpot
      type: ParkingSpot
      where: [{attribute: status, is: occupied}]
    for: 15min                            # all conditions hold without a break
    lateness: 2min                        # how late what is observed may come in
    alert: {source: linked, category: traffic, severity: medium, description: …}

A condition names an attribute and one operator: `is` and `not` (a value or a list of values),
`above`, `below`, `atLeast`, `atMost` (numbers), or `silentFor` (nothing was observed for that
long). Instead of or besides conditions, `q` takes the query language of NGSI-LD.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from subscribers.common.definitions import Name
from subscribers.common.instants import Duration

Scalar = str | int | float | bool
Text = Annotated[str, msgspec.Meta(min_length=1)]

_OPERATORS: Final = {
    "is_": "is",
    "not_": "not",
    "above": "above",
    "below": "below",
    "at_least": "atLeast",
    "at_most": "atMost",
    "silent_for": "silentFor",
}


class Condition(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What must be true of one attribute."""

    attribute: Text
    is_: Scalar | tuple[Scalar, ...] | None = msgspec.field(default=None, name="is")
    not_: Scalar | tuple[Scalar, ...] | None = msgspec.field(default=None, name="not")
    above: float | None = None
    below: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    silent_for: Duration | None = None

    def __post_init__(self) -> None:
        """Refuse a condition without an operator, or with several."""
        given = [name for field, name in _OPERATORS.items() if getattr(self, field) is not None]
        if len(given) != 1:
            known = ", ".join(_OPERATORS.values())
            raise ValueError(
                f"expected one of {known}, got {' and '.join(given) or 'none of them'}"
            )


class Subject(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Entities of a type, and what must be true of them."""

    type: Text
    where: tuple[Condition, ...] = ()
    q: Text | None = None

    def __post_init__(self) -> None:
        """Refuse a part without any condition."""
        if not self.where and self.q is None:
            raise ValueError("expected conditions in `where`, or a query in `q`")


class Linked(Subject, frozen=True, kw_only=True):
    """Entities that a relationship of the subject points to."""

    by: Text


class AlertText(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What the alert says; the words are those of the Smart Data Model Alert.

    Attributes:
        source: which of the entities the alert is about.
        description: may contain `{subject}`, `{linked}` and `{since}`.
    """

    category: Literal[
        "traffic", "naturalDisaster", "weather", "environment", "health", "security", "agriculture"
    ]
    severity: Literal["informational", "low", "medium", "high", "critical"]
    description: Text
    sub_category: Text | None = None
    source: Literal["subject", "linked"] = "subject"

    def __post_init__(self) -> None:
        """Refuse a description with a place for what is not known."""
        self.describe("", "", "")

    def describe(self, subject: str, linked: str, since: str) -> str:
        """Return the description of one alert."""
        try:
            return self.description.format(subject=subject, linked=linked, since=since)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                f"description: only {{subject}}, {{linked}} and {{since}} can be filled in: {error}"
            ) from error


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One rule."""

    rule: Name
    title: Text
    subject: Subject
    alert: AlertText
    linked: Linked | None = None
    for_: Duration = msgspec.field(default=Duration(0), name="for")
    lateness: Duration = Duration(0)
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse an alert about an entity the rule does not look at."""
        if self.alert.source == "linked" and self.linked is None:
            raise ValueError("alert.source: the rule has no linked entity")

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rule
