"""The judgement of recorded rows in a Spark job: the one that worker and landing make, in Python.

What reads the lake through Spark refuses what `lockstep.lake.read_rows` refuses, too: an event
in the folder of another day is an error, and never counted in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lockstep.contracts import Contract, Judge, Limits
from lockstep.errors import LockstepError, marked
from lockstep.lake import LANDED, require_day

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["FOLDER", "judged"]

FOLDER = "_folder"
"""The column of the folder that a row lies in: date=YYYY-MM-DD."""


def judged(records: DataFrame, contract: Contract, limits: Limits) -> DataFrame:
    """The records that are not refused.

    They have the contract's columns, LANDED and FOLDER. A job over the result may fail with a
    LakeError or a ContractError inside, see `lockstep.errors.marked_in`.
    """
    return records.mapInArrow(
        partial(_not_refused, dict(contract.document), limits), records.schema
    )


def _not_refused(
    document: Mapping[str, Any], limits: Limits, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """One task."""
    try:
        judge = Judge(Contract.from_document(document), limits)
        for batch in batches:
            _require_days(batch, judge.contract)
            kept = judge.rows(batch, batch.column(LANDED.names[0])).kept
            yield batch if len(kept) == batch.num_rows else batch.take(pa.array(kept))
    except LockstepError as error:
        raise RuntimeError(marked(error)) from None


def _require_days(batch: pa.RecordBatch, contract: Contract) -> None:
    folders = batch.column(FOLDER)
    for folder in pc.unique(folders).to_pylist():
        own = batch.filter(pc.equal(folders, folder))
        day = date.fromisoformat(folder.removeprefix("date="))
        require_day(pa.Table.from_batches([own]), contract, day)
