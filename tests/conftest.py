"""What holds for every test: properties are checked on the same examples on every machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine, not of the code; and a failure must be
# seen again by whoever looks for it. To search further: `pytest --hypothesis-profile=default`.
settings.register_profile(
    "same-everywhere",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same-everywhere")
