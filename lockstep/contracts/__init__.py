"""Event contracts: what an event's fields are, and whether a set of events fits."""

from lockstep.contracts.columns import (
    Columns,
    EncodedColumns,
    EncodedStrings,
    columns_from_arrow,
    encode_strings,
    encoded_columns,
    model_inputs,
    spelled_nulls,
)
from lockstep.contracts.contract import Contract
from lockstep.contracts.decoding import Decoded, EventDecoder, too_large
from lockstep.contracts.events import to_json
from lockstep.contracts.field import RESERVED, Field, Kind, is_reserved
from lockstep.contracts.judgement import (
    NO_LIMITS,
    NO_TIME,
    Judge,
    Judged,
    Limits,
    honest,
    kind_of,
    on_time,
    readable_at,
)
from lockstep.contracts.recorded import ArrowDecoder
from lockstep.contracts.text import require_text
from lockstep.contracts.validation import FieldValidator, Validator

__all__ = [
    "NO_LIMITS",
    "NO_TIME",
    "RESERVED",
    "ArrowDecoder",
    "Columns",
    "Contract",
    "Decoded",
    "EncodedColumns",
    "EncodedStrings",
    "EventDecoder",
    "Field",
    "FieldValidator",
    "Judge",
    "Judged",
    "Kind",
    "Limits",
    "Validator",
    "columns_from_arrow",
    "encode_strings",
    "encoded_columns",
    "honest",
    "is_reserved",
    "kind_of",
    "model_inputs",
    "on_time",
    "readable_at",
    "require_text",
    "spelled_nulls",
    "to_json",
    "too_large",
]
