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
from lockstep.contracts.validation import Validator

__all__ = [
    "Columns",
    "Contract",
    "Decoded",
    "EncodedColumns",
    "EncodedStrings",
    "EventDecoder",
    "Field",
    "Kind",
    "Validator",
    "columns_from_arrow",
    "encode_strings",
    "encoded_columns",
    "model_inputs",
    "require_text",
    "to_json",
]
