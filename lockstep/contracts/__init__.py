"""Event contracts: what an event's fields are, and whether a set of events fits."""

from lockstep.contracts.columns import (
    Columns,
    EncodedColumns,
    EncodedStrings,
    columns_from_arrow,
    encode_strings,
    encoded_columns,
    model_inputs,
    require_text,
)
from lockstep.contracts.contract import Contract, Field, Kind
from lockstep.contracts.decoding import Decoded, EventDecoder
from lockstep.contracts.events import to_json
from lockstep.contracts.judgement import (
    NO_TIME,
    Judge,
    Judged,
    Limits,
    honest,
    kind_of,
    on_time,
    readable_at,
)
from lockstep.contracts.validation import Validator

__all__ = [
    "NO_TIME",
    "Columns",
    "Contract",
    "Decoded",
    "EncodedColumns",
    "EncodedStrings",
    "EventDecoder",
    "Field",
    "Judge",
    "Judged",
    "Kind",
    "Limits",
    "Validator",
    "columns_from_arrow",
    "encode_strings",
    "encoded_columns",
    "honest",
    "kind_of",
    "model_inputs",
    "on_time",
    "readable_at",
    "require_text",
    "to_json",
]
