"""Which rows may be sent: never two at once for an entity, whatever fails in between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iot_agents.common.spool import Operation, Row
from iot_agents.common.window import Window


def row(seq: int, *entities: str, tenant: str = "", operation: str = "upsert") -> Row:
    return Row(seq, tenant, "device", Operation(operation), entities, b"[]")


def numbers(rows: list[Row]) -> list[int]:
    return [row.seq for row in rows]


def test_an_entity_is_sent_once_at_a_time() -> None:
    window = Window()
    window.add([row(1, "a"), row(2, "a"), row(3, "b")])

    first = window.take(10)
    second = window.take(10)
    window.settle(first)
    third = window.take(10)

    assert (numbers(first), numbers(second), numbers(third)) == ([1, 3], [], [2])


def test_a_row_waits_for_each_of_its_entities() -> None:
    window = Window()
    one, two, both = row(1, "a"), row(2, "b"), row(3, "a", "b")
    window.add([one, two, both])
    window.take(10)

    window.settle([one])
    after_one = window.take(10)
    window.settle([two])
    after_two = window.take(10)

    assert (numbers(after_one), numbers(after_two)) == ([], [3])


def test_a_row_put_back_keeps_its_place() -> None:
    window = Window()
    window.add([row(1, "a"), row(2, "a")])

    window.put_back(window.take(10))

    assert numbers(window.take(10)) == [1]


def test_a_request_has_one_tenant_and_one_operation() -> None:
    window = Window()
    window.add(
        [
            row(1, "a", tenant="x"),
            row(2, "a", tenant="y"),
            row(3, "b", tenant="x", operation="delete"),
            row(4, "c", tenant="x"),
        ]
    )

    requests = [numbers(window.take(10)) for _ in range(4)]

    assert requests == [[1, 4], [2], [3], []]


def test_expired_rows_are_not_sent_and_hold_nothing_back() -> None:
    window = Window()
    window.add([row(1, "a"), row(2, "a"), row(3, "a"), row(4, "b")])

    window.expire(2)

    assert numbers(window.take(10)) == [3, 4]


def test_the_window_is_empty_when_all_is_settled() -> None:
    window = Window()
    window.add([row(1, "a", "b"), row(2, "b")])

    window.settle(window.take(10))
    window.settle(window.take(10))

    assert len(window) == 0
    assert window.last == 2


@given(
    st.lists(st.sets(st.sampled_from("abcde"), min_size=1, max_size=3), max_size=30),
    st.randoms(use_true_random=False),
)
def test_every_row_is_sent_and_each_entity_in_order(rows: list[set[str]], random: object) -> None:
    window = Window()
    window.add(row(seq, *sorted(entities)) for seq, entities in enumerate(rows, start=1))
    settled: list[Row] = []
    in_flight: list[Row] = []

    while len(window):
        in_flight += window.take(random.randint(1, 5))  # type: ignore[attr-defined]
        random.shuffle(in_flight)  # type: ignore[attr-defined]
        chosen = in_flight.pop()
        if random.random() < 0.3:  # type: ignore[attr-defined]
            window.put_back([chosen])
        else:
            window.settle([chosen])
            settled.append(chosen)

    assert sorted(numbers(settled)) == list(range(1, len(rows) + 1))
    for entity in "abcde":
        sent = [row.seq for row in settled if entity in row.ids]
        assert sent == sorted(sent)


def test_rows_of_one_entity_go_together_where_the_broker_takes_that() -> None:
    window = Window()
    window.add(
        [row(1, "a"), row(2, "b"), row(3, "a"), row(4, "a", operation="delete"), row(5, "a")]
    )

    first = window.take(10, repeats=True)
    nothing = window.take(10, repeats=True)
    window.settle(first)
    second = window.take(10, repeats=True)

    assert (numbers(first), numbers(nothing), numbers(second)) == ([1, 3, 2], [], [4])


@given(
    st.lists(st.sets(st.sampled_from("abc"), min_size=1, max_size=2), max_size=40),
    st.randoms(use_true_random=False),
)
def test_rows_that_go_together_keep_their_order_whatever_fails(
    rows: list[set[str]], random: object
) -> None:
    window = Window()
    window.add(row(seq, *sorted(entities)) for seq, entities in enumerate(rows, start=1))
    settled: list[Row] = []
    in_flight: list[list[Row]] = []

    while len(window):
        if taken := window.take(random.randint(1, 8), repeats=True):  # type: ignore[attr-defined]
            in_flight.append(taken)
        random.shuffle(in_flight)  # type: ignore[attr-defined]
        request = in_flight.pop()
        stuck: set[str] = set()
        again = []
        for each in request:
            if stuck & set(each.ids) or random.random() < 0.3:  # type: ignore[attr-defined]
                stuck |= set(each.ids)
                again.append(each)
        heads = [each for each in again if window.leads(each)]
        done = [each for each in request if each not in again]
        window.settle(done)
        settled += done
        window.put_back(heads)

    assert sorted(numbers(settled)) == list(range(1, len(rows) + 1))
    for entity in "abc":
        sent = [row.seq for row in settled if entity in row.ids]
        assert sent == sorted(sent)
