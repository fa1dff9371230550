import pytest

from subscribers.common.instants import Duration, Instant
from subscribers.kpi.series import Carry, Change, Series, Span

UNKNOWN = ""


def series(*observed: tuple[int, str]) -> Series:
    made = Series()
    for at, state in observed:
        made.insert(Instant(at), state)
    return made


def spans(made: Series, start: int, end: int, silent_after: int | None = None) -> list[Span]:
    silence = None if silent_after is None else Duration(silent_after)
    return list(made.spans(Instant(start), Instant(end), silence))


def changes(made: Series, start: int, end: int) -> list[Change]:
    return list(made.changes(Instant(start), Instant(end)))


def test_a_state_lasts_until_the_next_observation() -> None:
    made = series((10, "free"), (30, "occupied"))

    assert spans(made, 0, 50) == [Span("free", Instant(10), Instant(30)), ("occupied", 30, 50)]


def test_the_order_of_arrival_does_not_matter() -> None:
    assert spans(series((30, "b"), (10, "a"), (20, "c")), 0, 40) == [
        ("a", 10, 20),
        ("c", 20, 30),
        ("b", 30, 40),
    ]


def test_what_was_observed_before_the_window_lasts_into_it() -> None:
    assert spans(series((10, "a"), (50, "b")), 20, 40) == [("a", 20, 40)]


def test_before_the_first_observation_and_while_unknown_nothing_is_known() -> None:
    made = series((10, "a"), (20, UNKNOWN), (30, "a"))

    assert spans(made, 0, 40) == [("a", 10, 20), ("a", 30, 40)]
    assert spans(made, 0, 10) == []
    assert spans(Series(), 0, 10) == []


def test_after_too_long_a_silence_nothing_is_known() -> None:
    made = series((10, "a"), (14, "a"), (30, "a"))

    assert spans(made, 0, 40, silent_after=5) == [("a", 10, 14), ("a", 14, 19), ("a", 30, 35)]
    assert spans(made, 20, 25, silent_after=5) == []


def test_of_two_observations_at_one_instant_the_one_that_came_later_counts() -> None:
    assert spans(series((10, "a"), (10, "b")), 0, 20) == [("b", 10, 20)]


def test_changes_are_between_known_states_and_tell_how_long_the_state_before_lasted() -> None:
    made = series((10, "free"), (20, "occupied"), (25, "occupied"), (40, "free"))

    assert changes(made, 0, 50) == [
        Change(Instant(20), "free", "occupied", None),
        Change(Instant(40), "occupied", "free", Instant(20)),
    ]


def test_an_unknown_state_between_is_no_change() -> None:
    made = series((10, "free"), (20, "occupied"), (30, UNKNOWN), (40, "occupied"), (50, "free"))

    assert [change.since for change in changes(made, 30, 60)] == [20]


def test_a_change_belongs_to_the_window_it_happens_in() -> None:
    made = series((10, "free"), (20, "occupied"))

    assert changes(made, 0, 20) == []
    assert len(changes(made, 20, 30)) == 1


def test_what_is_folded_still_counts_for_what_follows() -> None:
    observed = ((10, "free"), (20, "occupied"), (25, UNKNOWN), (28, "occupied"), (40, "free"))
    whole, folded = series(*observed), series(*observed)

    assert folded.prune(Instant(30))

    assert len(folded) == 1
    assert folded.carry == Carry(Instant(28), "occupied", "occupied", Instant(20))
    assert spans(folded, 30, 50) == spans(whole, 30, 50)
    assert changes(folded, 30, 50) == changes(whole, 30, 50)


def test_folding_nothing_tells_so() -> None:
    made = series((10, "free"))

    assert not made.prune(Instant(10))
    assert made.carry is None


@pytest.mark.parametrize(("at", "taken"), [(19, False), (20, False), (21, True)])
def test_what_lies_before_the_folded_ones_comes_too_late(at: int, *, taken: bool) -> None:
    made = series((10, "free"), (20, "occupied"))
    made.prune(Instant(30))

    assert made.insert(Instant(at), "free") is taken


def test_the_newest_state_is_known_with_and_without_single_observations() -> None:
    made = series((10, "free"), (20, "occupied"))

    before = (made.newest, made.newest_state)
    made.prune(Instant(30))

    assert before == (made.newest, made.newest_state) == (20, "occupied")
    assert (Series().newest, Series().newest_state) == (None, UNKNOWN)
