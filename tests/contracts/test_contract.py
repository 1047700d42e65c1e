"""Contracts: what no later layer could keep is refused when they are read, and it is said how."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lockstep.contracts import Contract
from lockstep.errors import UsageError

SCHEMAS = Path("schemas")
PATH = SCHEMAS / "flight_delay/departure.v1.json"
Document = dict[str, Any]
Edit = Callable[[Document], Any]


@pytest.fixture
def document() -> Document:
    return json.loads(PATH.read_text())


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*/*.json")), ids=str)
def test_the_contracts_here_load(path):
    contract = Contract.load(path)
    assert contract.by_name[contract.time].kind == "timestamp"
    assert contract.arrow_schema.field(contract.time).type == pa.timestamp("us", tz="UTC")
    assert not contract.arrow_schema.field(contract.id).nullable
    assert all(field.max_length for field in contract.fields if field.kind == "string")


def test_a_contract_survives_its_document(document):
    assert Contract.from_document(copy.deepcopy(document)) == Contract.load(PATH)


def top(**keywords: Any) -> Edit:
    return lambda document: document.update(keywords)


def about(**keywords: Any) -> Edit:
    return lambda document: document["x-lockstep"].update(keywords)


def field(name: str, **keywords: Any) -> Edit:
    """Other keywords for a field, None to leave one out."""

    def edit(document: Document) -> None:
        spec = document["properties"].setdefault(name, {})
        spec |= keywords
        for keyword in [k for k, value in keywords.items() if value is None]:
            del spec[keyword]

    return edit


def renamed(old: str, new: str) -> Edit:
    def edit(document: Document) -> None:
        document["properties"][new] = document["properties"].pop(old)
        document["required"] = [new if name == old else name for name in document["required"]]

    return edit


MICROS = {"x-unit": "timestamp-micros"}
REFUSED: dict[str, tuple[Edit, str]] = {
    # Whole documents.
    "an unknown keyword": (top(allOf=[]), "keyword 'allOf' is not supported for a contract"),
    "a text that is none": (top(title=7), "title is 7, not text"),
    "another type": (top(type="array"), "type is 'array', but an event is an object"),
    "no more fields": (top(additionalProperties=False), "additionalProperties is false, but"),
    "no properties": (lambda d: d.pop("properties"), "'properties' is missing"),
    "a list of properties": (top(properties=[]), "properties is [], not an object"),
    "half of a character": (top(title="x\ud800"), 'half of a character'),
    "required as text": (top(required="event_id"), "required is 'event_id', not a list of names"),
    "required is elsewhere": (
        lambda d: d["required"].append("seat"),
        "required is 'seat', which is none of properties",
    ),
    "required twice": (
        lambda d: d["required"].append("dest"),
        "required is 'dest', which is there twice",
    ),
    # x-lockstep.
    "no source": (lambda d: d["x-lockstep"].pop("source"), "x-lockstep: 'source' is missing"),
    "an unknown role": (about(key="dest"), "x-lockstep: keyword 'key' is not supported"),
    "a version as text": (about(version="1"), "version is '1', not the number of a version"),
    "version 0": (about(version=0), "version is 0, not the number"),
    "version true": (about(version=True), "version is true, not the number"),
    "a source that is a path": (about(source="../lake"), "source is '../lake', which is no name"),
    "a source of nothing": (about(source=""), "source is '', which is no name"),
    "an id elsewhere": (about(id="nowhere"), "id is 'nowhere', which is not a required"),
    "an id that may be null": (about(id="tailnum"), "id is 'tailnum', which is not a required"),
    "a time that is none": (about(time="flight"), "time is 'flight', which is not a required"),
    "an entity elsewhere": (about(entity="nobody"), "entity is 'nobody', which is not a string"),
    "an entity of numbers": (about(entity="flight"), "entity is 'flight', which is not a string"),
    "an entity of null": (about(entity=None), "entity is null, not text"),
    # Fields and their types.
    "not a schema": (lambda d: d["properties"].update(dest=True), "dest: its schema is true"),
    "an unknown keyword of a field": (
        field("seats", multipleOf=2),
        "seats: keyword 'multipleOf' is not supported for a number: it is 2",
    ),
    "no type": (field("seats", type=None), "seats: 'type' is missing"),
    "an object": (field("seats", type="object"), "seats: type is 'object', not one of"),
    "two types": (field("seats", type=["string", "integer"]), 'seats: type is ["string", "int'),
    "null alone": (field("seats", type=["null"]), 'seats: type is ["null"], not one of'),
    "a sensitive text": (field("seats", **{"x-sensitive": "yes"}), "x-sensitive is 'yes', neither"),
    "a description": (field("seats", description=["x"]), 'description is ["x"], not text'),
    "minimum of a string": (field("dest", minimum=1), "dest: keyword 'minimum' is not supported"),
    "pattern of a number": (field("seats", pattern="x"), "seats: keyword 'pattern' is not supp"),
    "enum of an integer": (field("flight", enum=[1]), "flight: keyword 'enum' is not supported"),
    "a number of a unit": (field("seats", **MICROS), "seats: keyword 'x-unit' is not supported"),
    "an unknown unit": (field("flight", **{"x-unit": "miles"}), "x-unit is 'miles', no unit"),
    "an integer of null": (
        field("flight", type=["integer", "null"]),
        "flight: type is [\"integer\", \"null\"], but only strings and numbers may be null",
    ),
    "an integer that may be absent": (
        lambda d: d["required"].remove("flight"),
        "flight: required does not name it, so it may be absent",
    ),
    # Ranges.
    "no maximum": (field("seats", maximum=None), "seats: 'maximum' is missing"),
    "a maximum as text": (field("seats", maximum="9"), "seats: maximum is '9', not a number"),
    "a maximum of true": (field("seats", maximum=True), "seats: maximum is true, not a number"),
    "an infinite maximum": (field("seats", maximum=float("inf")), "maximum is Infinity, but a"),
    "beyond float32": (field("seats", maximum=1e39), "seats: maximum is 1e+39, but a model reads"),
    "beyond float64": (field("seats", maximum=10**400), "seats: maximum is 1000"),
    "0 in float32": (field("seats", minimum=1e-50), "seats: minimum is 1e-50, but a model reads"),
    "minimum above maximum": (field("seats", minimum=2000), "minimum is 2000, above maximum, 1000"),
    "half an integer": (field("flight", maximum=9.5), "flight: maximum is 9.5, not a whole number"),
    "an integer as 1.0": (field("flight", minimum=1.0), "flight: minimum is 1.0, not a whole"),
    "beyond 2**53": (field("flight", maximum=2**53 + 1), "maximum is 9007199254740993, not a who"),
    "before 1600": (field("departed_at", minimum=-(2**62)), "departed_at: minimum is -46116860184"),
    "after 9000": (field("departed_at", maximum=2**63 - 1), "departed_at: maximum is 922337203685"),
    # Strings.
    "neither length nor enum": (field("engine", maxLength=None), "engine: 'maxLength' is missing"),
    "no character": (field("engine", maxLength=0), "engine: maxLength is 0, not a number of char"),
    "a length as 9.0": (field("engine", maxLength=9.0), "engine: maxLength is 9.0, not a number"),
    "less than nothing": (field("engine", minLength=-1), "engine: minLength is -1, not a number"),
    "a length of true": (field("engine", minLength=True), "engine: minLength is true, not a num"),
    "too long": (field("engine", maxLength=10**7), "engine: maxLength is 10000000, not a number"),
    "minLength above maxLength": (field("engine", minLength=41), "minLength is 41, above maxLen"),
    "a pattern of null": (lambda d: d["properties"]["dest"].update(pattern=None), "pattern is nu"),
    "no pattern": (field("dest", pattern="["), "dest: pattern is '[', which RE2 cannot read"),
    "a look back": (field("dest", pattern="(?<!a)b"), "pattern is '(?<!a)b', which RE2 cannot"),
    "an enum of text": (field("origin", enum="EWR"), "origin: enum is 'EWR', not a list"),
    "an enum of nothing": (field("origin", enum=[]), "origin: enum is [], without a string"),
    "an enum of numbers": (field("origin", enum=["EWR", 7]), "origin: enum is 7, not a string"),
    "an enum with null": (field("origin", enum=["EWR", None]), "which the type lacks"),
    "an enum with nothing": (field("origin", enum=["EWR", ""]), "origin: enum is '', not a string"),
    "an enum with NUL": (field("origin", enum=["E\0"]), r"origin: enum is 'E\x00', not a string"),
    "an enum twice": (field("origin", enum=["EWR", "EWR"]), "enum is 'EWR', which is there twice"),
    "an enum too long": (field("origin", enum=["EWR"], maxLength=2), "enum is 'EWR', which patte"),
    "an enum that matches not": (field("origin", enum=["x"], pattern="Y"), "enum is 'x', which pa"),
    "an id too long": (field("event_id", maxLength=513), "id is 'event_id', which may have 513"),
    "an id of one long word": (
        field("event_id", maxLength=None, enum=["a", "b" * 513]),
        "id is 'event_id', which may have 513",
    ),
    # Names.
    "a name with a dash": (renamed("dest", "dest-id"), "a field's name is 'dest-id', not an ident"),
    "a name with a dot": (renamed("dest", "a.b"), "a field's name is 'a.b', not an identifier"),
    "a name of another alphabet": (renamed("dest", "größe"), "name is 'größe', not an identifier"),
    "an empty name": (renamed("dest", ""), "a field's name is '', not an identifier"),
    "a name that ends a line": (renamed("dest", "dest\n"), r"name is 'dest\n', not an identifier"),
    "a name too long": (renamed("dest", "d" * 64), "not an identifier of at most 63 characters"),
    "a name of ours within": (renamed("dest", "_dest"), "a field's name is '_dest', not an ident"),
    "score": (renamed("dest", "score"), "a field's name is 'score', which Lockstep itself"),
    "Margin": (renamed("dest", "Margin"), "a field's name is 'Margin', which Lockstep itself"),
    "window_values": (renamed("dest", "window_values"), "name is 'window_values', which Lockstep"),
    "a name inside of graphs": (renamed("dest", "Add_0_C"), "name is 'Add_0_C', which Lockstep"),
    "names that differ in case": (renamed("dest", "Origin"), "name is 'Origin', which to Spark is"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_named_and_so_is_what_to_write(document, edit, said):
    edit(document)
    with pytest.raises(UsageError) as refused:
        Contract.from_document(document, where="departure.json")
    assert refused.value.message.startswith("departure.json: ")
    assert said in refused.value.message
    assert len(refused.value.message) < 300
    assert refused.value.next


def test_null_in_an_enum_is_dropped_where_the_type_has_null(document):
    document["properties"]["engine"] = {"type": ["string", "null"], "enum": ["jet", None]}
    engine = Contract.from_document(document).by_name["engine"]
    assert engine.enum == ("jet",)
    assert engine.nullable
    assert engine.max_length == 3


@pytest.mark.parametrize("name", ["event_id", "tailnum", "departed_at"])
def test_what_is_stored_as_it_is_may_not_be_sensitive(document, name):
    document["properties"][name]["x-sensitive"] = True
    with pytest.raises(UsageError, match=f"{name} may not be sensitive"):
        Contract.from_document(document)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "is not JSON: Expecting property name"),
        (b"\xff{}", "is not JSON: 'utf-8' codec can't decode"),
        (b'{"title": NaN}', "a number is 'NaN', which JSON does not have"),
        (b'{"title": "a", "title": "b"}', "a key is 'title', which one object has twice"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"[]", "the contract is [], not an object"),
        (b'{"version": ' + b"1" * 5000 + b"}", "is not JSON"),
    ],
)
def test_files_that_are_no_contract(tmp_path, data, said):
    path = tmp_path / "broken.v1.json"
    path.write_bytes(data)
    with pytest.raises(UsageError) as refused:
        Contract.load(path)
    assert said in refused.value.message
    assert str(path) in refused.value.message


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"there is no contract .*nothing\.json") as refused:
        Contract.load(tmp_path / "nothing.json")
    assert refused.value.next
    with pytest.raises(UsageError, match="there is no contract"):
        Contract.load(tmp_path)


def test_two_contracts_of_one_version_are_refused(tmp_path, document):
    folder = tmp_path / "shop"
    folder.mkdir()
    for name in ("a.v1.json", "b.v1.json"):
        (folder / name).write_text(json.dumps(document))
    with pytest.raises(UsageError, match=r"a\.v1\.json and .*b\.v1\.json are both version 1"):
        Contract.of_source("shop", "flight_departures", tmp_path)
    document["x-lockstep"]["version"] = 2
    (folder / "b.v2.json").write_text(json.dumps(document))
    assert Contract.of_source("shop", "flight_departures", tmp_path).version == 2
