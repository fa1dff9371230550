"""Policies of retention as an operator writes them."""

from __future__ import annotations

import pytest

from broker.core.identifiers import Iri, Tenant
from broker.operations.retention import InvalidRetention, parse
from broker.store.temporal import Retention

DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("P90D", Retention(90 * DAY)),
        ("P1M", Retention(31 * DAY)),
        ("Road=PT12H", Retention(DAY // 2, None, Iri("Road"))),
        ("@city=P1W", Retention(7 * DAY, Tenant("city"))),
        ("Road@city=P1D", Retention(DAY, Tenant("city"), Iri("Road"))),
        ("https://a.example/Road=P1D", Retention(DAY, None, Iri("https://a.example/Road"))),
    ],
)
def test_a_policy_says_how_long_of_what(text: str, policy: Retention) -> None:
    assert parse(text) == policy


@pytest.mark.parametrize(
    ("text", "named"),
    [("", "''"), ("Road", "'Road'"), ("Road=", "''"), ("P0D", "no time"), ("@C i=P1D", "tenant")],
)
def test_what_is_no_policy_is_refused(text: str, named: str) -> None:
    with pytest.raises(InvalidRetention, match=named):
        parse(text)
