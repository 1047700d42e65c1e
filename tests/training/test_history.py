"""Training rows with windows: what each would have seen live, in one order."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lockstep.contracts import Contract, columns_from_arrow
from lockstep.errors import LakeError, UsageError
from lockstep.estimators import XGBoost
from lockstep.lake import days, read_partition, write_partition
from lockstep.progress import Silent
from lockstep.settings import Settings
from lockstep.training import train as training
from lockstep.training.decimals import Decimals
from lockstep.training.definition import Period, contract
from lockstep.training.history import read_windowed, windowed_columns
from lockstep.windows import Source, Window
from lockstep.windows.semantics import NO_WINDOWS
from models.flight_delay.features import row_features
from models.flight_delay.model import MODEL
from tests.small_model import REPOSITORY, arrivals, departures, windows
from tests.window_values import window_values

DAYS = [date(2013, 1, 4), date(2013, 1, 5), date(2013, 1, 9)]


class Heard(Silent):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.done = 0

    def advance(self, amount: int = 1) -> None:
        self.done += amount

    def finish(self, said: str) -> None:
        self.said.append(said)


@pytest.fixture(scope="module")
def settings(tiny) -> Settings:
    return Settings(home=tiny.home, lake=tiny.lake)


def test_each_row_sees_what_the_windows_say(settings):
    heard = Heard()
    table = read_windowed(settings, departures(), windows(), DAYS, heard)
    columns = windowed_columns(departures(), windows(), table)
    assert heard.said == [f"{table.num_rows:,} events with 8 windows"]
    assert heard.done == len(DAYS)

    expected = pa.concat_tables(read_partition(settings.lake, departures(), day) for day in DAYS)
    recorded = columns_from_arrow(departures(), expected)
    # This lake's order within a day is that of (event time, id) too.
    assert columns["event_id"].tolist() == recorded["event_id"].tolist()
    states = {
        found.source: columns_from_arrow(
            found,
            pa.concat_tables(
                read_partition(settings.lake, found, day)
                for day in days(settings.lake, found.source)
            ),
        )
        for found in (departures(), arrivals())
    }
    values = window_values(windows(), states, recorded, recorded["departed_at"])
    for name in windows().names:
        assert columns[name].dtype == np.float32
        assert not np.isnan(columns[name]).all()
        np.testing.assert_array_equal(columns[name], values[name], err_msg=name)


def test_a_record_that_breaks_the_model_s_contract_is_no_event(settings, tmp_path):
    """Landing may have checked with a wider one; a worker refuses what its model's refuses."""
    sources = (departures().source, arrivals().source)
    for source in sources:
        for day in days(settings.lake, source)[:6]:
            found = contract_of(source)
            table = read_partition(settings.lake, found, day)
            write_partition(str(tmp_path), source, day, "loaded", table)
            if source == arrivals().source:
                ids = pc.binary_join_element_wise(table["event_id"], "broken", "-")
                table = table.set_column(
                    table.schema.get_field_index("event_id"), "event_id", ids
                ).set_column(
                    table.schema.get_field_index("arr_delay"),
                    "arr_delay",
                    pa.array(np.full(table.num_rows, 1e6)),
                )
                write_partition(str(tmp_path), source, day, "wider", table)
    altered = settings.model_copy(update={"lake": str(tmp_path)})
    seen = [
        read_windowed(each, departures(), windows(), DAYS[:2], Silent())["window_values"]
        for each in (settings, altered)
    ]
    bits = [column.combine_chunks().flatten().to_numpy().tobytes() for column in seen]
    assert bits[0] == bits[1]


def test_values_with_more_decimals_than_count_are_told(settings, tmp_path):
    """A quarter of a minute more, in a lake where all else is as it was."""
    lake = str(tmp_path)
    for source in (departures().source, arrivals().source):
        for day in days(settings.lake, source)[:6]:
            table = read_partition(settings.lake, contract_of(source), day)
            if source == arrivals().source:
                at = table.schema.get_field_index("arr_delay")
                table = table.set_column(at, "arr_delay", pc.add(table["arr_delay"], 0.25))
            write_partition(lake, source, day, "loaded", table)
    altered = settings.model_copy(update={"lake": lake})
    decimals = Decimals(windows())
    read_windowed(altered, departures(), windows(), DAYS[:2], Silent(), decimals=decimals)
    found = {rounded.scale: rounded for rounded in decimals.rounded()}
    assert {scale: of.windows for scale, of in found.items()} == {
        1: ("origin_delay_3h",),
        0: (
            "dest_gain_3h",
            "route_delay_6h",
            "carrier_worst_1h",
            "carrier_best_1h",
            "tail_last_12h",
        ),
    }
    for of in found.values():
        assert (of.source, of.field, of.needed) == (arrivals().source, "arr_delay", 2)
        assert of.rounded == of.values > 1_000


def test_a_window_without_its_scale_is_refused_with_the_one_that_the_data_needs(
    settings, monkeypatch
):
    came = Source("flight_arrivals", delay="1min", clock_skew="5s")
    window = Window("w", came, "origin", "last", "1h", "5min", "arr_delay")
    days_of_the_lake = {
        "train": Period(date(2013, 1, 3), date(2013, 1, 5)),
        "test": Period(date(2013, 1, 6), date(2013, 1, 7)),
    }
    declared(monkeypatch, windows=(window,), **days_of_the_lake)
    with pytest.raises(UsageError, match="its recorded values have 0") as refused:
        training.make_plan(settings, "flight_delay")
    assert refused.value.next == "in its declaration: scale=0"


def contract_of(source: str) -> Contract:
    return {found.source: found for found in (departures(), arrivals())}[source]


def plan(**changes) -> training.Plan:
    definition = dataclasses.replace(
        MODEL,
        features=row_features,
        windows=(),
        train=Period(date(2013, 1, 3), date(2013, 1, 5)),
        test=Period(date(2013, 1, 6), date(2013, 1, 7)),
        **{"estimator": dataclasses.replace(MODEL.estimator, trees=2), **changes},
    )
    return training.Plan("flight_delay", definition, departures(), arrivals(), NO_WINDOWS, "f", {})


def test_without_windows(settings, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    trained = training.train(settings, plan())
    assert trained.compiled.model.window_names == ()
    assert "pyspark" not in trained.compiled.model.manifest.versions


def test_a_regression_has_values_for_labels(settings, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    label = dataclasses.replace(
        MODEL.label, of=lambda arrived: arrived["arr_delay"], meaning="arr_delay in minutes"
    )
    estimator = XGBoost({**MODEL.estimator.parameters, "objective": "reg:squarederror"}, trees=2)
    trained = training.train(settings, plan(label=label, estimator=estimator, gates={}))
    about = trained.compiled.model.manifest.training
    assert set(about.metrics) == {"rmse", "mae"}
    assert about.positives is about.test_positives is None
    assert about.labels[0] < 0 < about.labels[-1]
    assert about.scores[-1] > 1
    for compared in trained.compiled.certificate.compared.values():
        assert compared.margins_differ == compared.largest_score_difference == 0
    from lockstep.cli.model_views import manifest_text

    text = manifest_text("x", trained.compiled.model)
    assert "half of them below" in text
    assert "positive" not in text


def declared(monkeypatch, **changes):
    """make_plan of the flights, declared with some changes."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(
        training, "load_definition", lambda _: dataclasses.replace(MODEL, **changes)
    )


def test_a_day_of_state_that_nobody_recorded(settings, monkeypatch):
    period = Period(date(2013, 1, 1), date(2013, 1, 3))
    test = Period(date(2013, 1, 4), date(2013, 1, 5))
    declared(monkeypatch, train=period, test=test)
    with pytest.raises(LakeError, match=r"windows over flight_\w+ \(.*see flight_\w+/date=2012-12"):
        training.make_plan(settings, "flight_delay")


def test_other_windows_are_another_training(settings, monkeypatch):
    periods = {
        "train": Period(date(2013, 1, 3), date(2013, 1, 5)),
        "test": Period(date(2013, 1, 6), date(2013, 1, 7)),
    }
    found = set()
    for chosen in (MODEL.windows, MODEL.windows[:3], ()):
        declared(monkeypatch, windows=chosen, **periods)
        made = training.make_plan(settings, "flight_delay")
        assert len(made.windows) == len(chosen)
        found.add(made.fingerprint)
    assert len(found) == 3


def test_a_window_over_the_label_of_its_own_events_is_refused(settings, monkeypatch):
    own = Source("flight_departures", delay="1min", clock_skew="5s")
    seeing = Window(
        "w", own, by="origin", value="distance", agg="mean", over="1h", hop="5min", scale=0
    )
    label = dataclasses.replace(MODEL.label, contract="departure.v1.json", fields=("distance",))
    declared(monkeypatch, windows=(seeing,), label=label)
    with pytest.raises(UsageError, match=r"window w: value reads 'distance', the outcome"):
        training.make_plan(settings, "flight_delay")


def test_a_source_without_a_contract(settings, monkeypatch):
    weather = Source("weather", delay="1min", clock_skew="5s")
    declared(monkeypatch, windows=(Window("w", weather, "origin", "count", "1h", "5min"),))
    with pytest.raises(UsageError, match=r"no contract .* has the source 'weather'"):
        training.make_plan(settings, "flight_delay")
    assert contract("flight_delay", "arrival.v1.json").source == "flight_arrivals"
