"""A file whose windows cannot be computed is refused, and the window is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import onnx
import pytest

from lockstep.compiled_model import open_model
from lockstep.compiled_model.manifest import MANIFEST_KEY
from lockstep.compiled_model.sealing import SEAL_KEY, seal
from lockstep.errors import ModelRefused
from tests.small_model import windowed_compiled

NAMES = [
    *("origin_departures_1h", "origin_delay_3h", "origin_late_3h", "dest_gain_3h"),
    *("route_delay_6h", "carrier_worst_1h", "carrier_best_1h", "tail_last_12h"),
]


def edited(edit: Callable[[dict[str, Any]], Any]) -> bytes:
    """The windowed model, its manifest edited by someone who knows how to seal."""
    proto = onnx.load_from_string(windowed_compiled().model.data)
    (entry,) = [e for e in proto.metadata_props if e.key == MANIFEST_KEY]
    manifest = json.loads(entry.value)
    edit(manifest)
    del proto.metadata_props[:]
    proto.metadata_props.append(
        onnx.StringStringEntryProto(key=MANIFEST_KEY, value=json.dumps(manifest))
    )
    assert SEAL_KEY not in {e.key for e in proto.metadata_props}
    return seal(proto.SerializeToString(deterministic=True))


def window(name: str, /, **values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes one window."""
    return lambda manifest: manifest["windows"][NAMES.index(name)].update(values)


def source(name: str, /, **values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes one source."""

    def edit(manifest: dict[str, Any]) -> None:
        (found,) = [s for s in manifest["sources"] if s["name"] == name]
        found.update(values)

    return edit


def field(name: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes or removes a field of the arrivals' contract."""

    def edit(manifest: dict[str, Any]) -> None:
        (found,) = [s for s in manifest["sources"] if s["name"] == "flight_arrivals"]
        if values:
            found["contract"]["properties"][name] = values
        else:
            del found["contract"]["properties"][name]
            found["contract"]["required"].remove(name)

    return edit


def twice(manifest: dict[str, Any]) -> None:
    manifest["sources"].append(manifest["sources"][0])


def unread(manifest: dict[str, Any]) -> None:
    manifest["sources"].append(
        {"name": "weather", "delay": 2, "clock_skew": 1, "contract": other("weather")}
    )


def other(name: str) -> dict[str, Any]:
    return {
        "x-lockstep": {"name": name, "version": 1, "source": name, "id": "i", "time": "t"},
        "properties": {
            "i": {"type": "string", "maxLength": 3},
            "t": {"type": "integer", "x-unit": "timestamp-micros", "minimum": 0, "maximum": 9},
        },
        "required": ["i", "t"],
    }


def condition(**values: Any) -> Callable[[dict[str, Any]], None]:
    return window("origin_late_3h", where=[values])


def test_nothing_edited_opens():
    model = open_model(edited(lambda manifest: None))
    assert list(model.window_names) == NAMES


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (window("dest_gain_3h", source="weather"), r"reads 'weather', which is none"),
        (window("dest_gain_3h", name="seats"), r"'seats' has the name of a field"),
        (window("dest_gain_3h", name="origin_delay_3h"), r"'origin_delay_3h' has the name of"),
        (window("dest_gain_3h", name="score"), r"'score' has the name of what a graph answers"),
        (window("dest_gain_3h", over=7), r"over 7 us, which is no multiple of its hop"),
        (window("dest_gain_3h", hop=0), r"no multiple of its hop of 0 us"),
        (window("dest_gain_3h", hop=-300_000_000), r"no multiple of its hop"),
        (window("dest_gain_3h", over=0), r"over 0 us"),
        (window("dest_gain_3h", scale=10), r"has a scale of 10"),
        (window("dest_gain_3h", value=None), r"has no value for its mean"),
        (window("dest_gain_3h", by=[]), r"is by \[\]"),
        (window("dest_gain_3h", by=["dest", "dest"]), r"is by \['dest', 'dest'\]"),
        (window("dest_gain_3h", by=["gate"]), r"'gate', which is no field of .*departure and no"),
        (window("dest_gain_3h", by=["engine"]), r"'engine', which is a field of type string of"),
        (window("dest_gain_3h", by=["distance"]), r"'distance', which is a field of type number"),
        (window("dest_gain_3h", value="mood"), r"aggregates 'mood', which is no field of"),
        (window("dest_gain_3h", minus="carrier"), r"aggregates 'carrier', which is a .* string"),
        (window("dest_gain_3h", agg="median"), r"manifest cannot be read: .*median"),
        (condition(field="mood", operator="=", literal=1), r"whether mood = 1, which is no field"),
        (condition(field="arr_delay", operator="=", literal="x"), r"arr_delay = 'x', which is a"),
        (condition(field="origin", operator="<", literal="x"), r"origin < 'x'"),
        (condition(field="origin", operator="is null", literal="x"), r"origin is null 'x'"),
        (condition(field="arrived_at", operator=">", literal=1.5), r"arrived_at > 1.5"),
        (condition(field="origin", operator="like", literal="x"), r"manifest cannot be read"),
        (field("arr_delay"), r"aggregates 'arr_delay', which is no field"),
        (field("arr_delay", type="boolean"), r"state contract .* arr_delay: type is 'boolean'"),
        (field("arrived_at"), r"state contract .* time is 'arrived_at'"),
        (source("flight_arrivals", contract={}), r"state contract .* is missing"),
        (source("flight_arrivals", contract={"x-lockstep": 1}), r"state contract of the model can"),
        (source("flight_arrivals", contract=other("weather")), r"has the contract of 'weather'"),
        (source("flight_arrivals", delay=5_000_000), r"not above its clock skew of 5000000 us"),
        (source("flight_arrivals", clock_skew=0), r"not above its clock skew of 0 us"),
        (source("flight_arrivals", name="gone"), r"source 'gone' has the contract"),
        (unread, r"source 'weather' is read by no window"),
        (twice, r"source 'flight_\w+' or another one is there twice"),
        (lambda m: m["windows"].pop(), r"'tail_last_12h' is tensor.float. .* absent expected"),
        (lambda m: m["windows"].reverse(), r"golden vector \d+ does not reproduce"),
        (lambda m: m["golden"]["windows"].pop(), r"golden window values do not have the shape"),
        (lambda m: m["golden"]["windows"][3].pop(), r"golden window values do not have the shape"),
        (lambda m: m["golden"]["windows"][3].__setitem__(0, "x"), r"golden window values cannot"),
    ],
)  # fmt: skip
def test_windows_that_do_not_fit(edit, said):
    with pytest.raises(ModelRefused, match=said):
        open_model(edited(edit))
