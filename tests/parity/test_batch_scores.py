"""What Spark publishes is what OnnxScorer answers in this process, bit for bit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lockstep.contracts import columns_from_arrow
from lockstep.lake import read_partition
from lockstep.scoring import OnnxScorer
from tests.batch_house import BatchHouse, flights_of
from tests.small_model import departures, small_compiled


def expected(house: BatchHouse) -> list[tuple[object, ...]]:
    """Every event of the lake's day once, with the scorer's answer, as readers should see it."""
    contract = departures()
    table = read_partition(house.settings.lake, contract, house.day)
    model = small_compiled(20, house.use_case).model
    scores = OnnxScorer(model).score(columns_from_arrow(contract, table))
    rows = zip(
        table[contract.id].to_pylist(),
        table[contract.time].to_pylist(),
        table[contract.entity].to_pylist(),
        [bytes(v) for v in scores.score.astype(">f4").view("V4")],
        [bytes(v) for v in scores.margin.astype(">f4").view("V4")],
        strict=True,
    )
    return sorted(rows, key=lambda row: (row[0], row[1]))


def test_every_departure_of_a_day_has_the_scorers_answer(batch_house: BatchHouse) -> None:
    table = batch_house.write_flights()
    batch_house.run()
    seen = batch_house.seen()
    assert len(seen) == table.num_rows > 600
    assert seen == expected(batch_house)
    assert len({row[3] for row in seen}) > 100


def test_copies_count_once_and_the_same_one_counts(batch_house: BatchHouse) -> None:
    table = flights_of(batch_house.day)
    other = table.set_column(
        table.schema.get_field_index("distance"),
        table.schema.field("distance"),
        pa.array(np.full(table.num_rows, 19_999.0)),
    )
    later = table.slice(0, 50)
    column = later.schema.get_field_index("departed_at")
    moved = pa.array(
        np.asarray(later["departed_at"].cast(pa.int64())) // 2_000_000 * 2_000_000 + 999_999
    ).cast(pa.timestamp("us", "UTC"))
    later = later.set_column(column, later.schema.field(column), moved)
    # Sorted as paths these folders would come in another order than sorted by name.
    batch_house.write(other.slice(0, 400), "a")
    batch_house.write(table, "a-1")
    batch_house.write(pa.concat_tables([other.slice(300), later, later]), "b")
    outcomes = batch_house.run()
    assert outcomes[1].facts.input_copies == 400 + (table.num_rows - 300) + 50
    seen = batch_house.seen()
    assert len(seen) == table.num_rows + 50
    assert seen == expected(batch_house)


def test_narrower_columns_score_the_same(batch_house: BatchHouse) -> None:
    table = flights_of(batch_house.day)
    for name, type_ in (
        ("flight", pa.int16()),
        ("distance", pa.float32()),
        ("seats", pa.float32()),
        ("carrier", pa.large_string()),
    ):
        position = table.schema.get_field_index(name)
        table = table.set_column(position, name, table[name].cast(type_))
    absent = table.drop_columns(["wind_gust"])
    batch_house.write(absent.slice(0, 300), "a")
    batch_house.write(table.slice(300), "b")
    batch_house.run()
    assert batch_house.seen() == expected(batch_house)
