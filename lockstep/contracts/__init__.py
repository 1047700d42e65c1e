"""Event contracts: what an event's fields are, and whether a set of events fits."""

from lockstep.contracts.columns import Columns, columns_from_arrow, model_inputs
from lockstep.contracts.contract import Contract, Field, Kind
from lockstep.contracts.decoding import Decoded, EventDecoder
from lockstep.contracts.events import to_json
from lockstep.contracts.validation import Validator

__all__ = [
    "Columns",
    "Contract",
    "Decoded",
    "EventDecoder",
    "Field",
    "Kind",
    "Validator",
    "columns_from_arrow",
    "model_inputs",
    "to_json",
]
