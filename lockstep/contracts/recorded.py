"""Recorded events, as Arrow holds them, without one bad row spoiling its neighbours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lockstep.contracts.columns import EncodedStrings, columns_and_nulls
from lockstep.contracts.contract import Contract
from lockstep.contracts.decoding import Decoded
from lockstep.contracts.validation import Validator

__all__ = ["ArrowDecoder"]


class ArrowDecoder:
    """What EventDecoder is to JSON: the same verdict on the same event, and the same columns.

    Not for several threads at once.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._validator = Validator(contract)

    def decode(self, batch: pa.RecordBatch | pa.Table) -> Decoded:
        """Read and validate; a row that is null where it may not be does not fit.

        Raises ContractError naming a column that is missing, of another type, or no text.
        """
        columns, nulls = columns_and_nulls(self._contract, batch)
        rejected = self._validator.violations(columns) | nulls
        kept = np.delete(np.arange(batch.num_rows), list(rejected))
        for name, column in columns.items():
            strings = column.objects() if isinstance(column, EncodedStrings) else None
            columns[name] = column[kept] if strings is None else strings[column.codes[kept]]
        return Decoded(kept.tolist(), columns, rejected)
