"""Step 2: whether the lake's day may be scored.

1. its fingerprint and with it the publish's identity; done when that is current already. It
   covers the days of state that windows see, too: none of them may be missing
2. the number of events, before anything that an empty day would make meaningless
3. what Great Expectations says of a sample: nulls, ranges, vocabularies, repeated ids
4. what the judgement of every row says (`lockstep.contracts.judgement`). What came from Kafka and
   is refused, a worker refused as well: it is left out and told. What somebody loaded and is
   refused can be corrected: it stops the day
5. copies that do not say the same: the first is scored, and the warehouse marks them
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lockstep.batch.plan import Pin, Plan
from lockstep.compiled_model import open_model
from lockstep.contracts import Contract, Judge, kind_of, spelled_nulls
from lockstep.errors import ContractError, UsageError
from lockstep.lake import (
    LANDED,
    Conflict,
    Counted,
    counted,
    first_copies,
    input_fingerprint,
    read_rows,
    state_files,
    told_refused,
)
from lockstep.pipeline import Gates, Pipeline
from lockstep.registry.mlflow import fetch_model
from lockstep.settings import Settings
from lockstep.warehouse.conflicts import ConflictingCopies, record
from lockstep.warehouse.connect import connect
from lockstep.warehouse.publish import current
from lockstep.warehouse.staging import publish_id

__all__ = [
    "SAMPLE_ROWS",
    "check_events",
    "expect_events",
    "expectations_of",
    "sample_frame",
]

SAMPLE_ROWS = 1_000_000
"""Great Expectations sees at most so many events of a day, spread evenly over it."""
_LEFT = "nothing: no prediction was written"
_log = logging.getLogger(__name__)


def check_events(settings: Settings, pipeline: Pipeline, pin: Pin) -> Plan:
    """Check the day that `pin` names; what to score is in the plan.

    Raises LakeError for a day that cannot be read, CheckFailed for one that misses a gate,
    ContractError for an event that does not fit.
    """
    data = fetch_model(settings, pin.use_case, pin.model_version, pin.digest)
    model = open_model(data, digest=pin.digest)
    contract = model.contract
    if contract.source != pipeline.lake_table:
        raise UsageError(
            f"version {pin.model_version} of {pin.use_case} reads {contract.source!r},"
            f" but its pipeline.toml says lake_table = {pipeline.lake_table!r}",
            next=f"correct models/{pin.use_case}/pipeline.toml, or approve another version",
        )
    for name in pipeline.batch.gates.max_null_fractions:
        if name not in contract.by_name:
            raise UsageError(
                f"pipeline.toml's batch.gates.max_null_fractions names {name!r}, which is no field"
                f" of {contract.name}",
                next=f"correct models/{pin.use_case}/pipeline.toml",
            )
    # 1. What windows see is only read by Spark: its footers are judged here, before any job.
    state_files(settings.lake, model.windows, [pin.day])
    found = input_fingerprint(settings.lake, contract.source, pin.day, model.windows)
    identity = publish_id(pin.use_case, pin.day, pin.digest, found)
    with connect(settings, "scorer", pin.use_case) as connection:
        seen = current(connection, pin.day)
    published = seen is not None and seen.publish_id == identity
    if seen is not None and published:
        rows, copies, refused = seen.rows, 0, 0
    else:
        stored = read_rows(settings.lake, contract, pin.day, empty=False)
        counts = counted(stored, Judge(contract, model.windows.limits))
        rows, copies = counts.table.num_rows, counts.copies
        broken, refused = _refused(stored, counts, contract, pin)
        table = counts.table
        if broken:
            kept = np.delete(np.arange(stored.num_rows), list(counts.reasons.keys() - broken))
            table = first_copies(stored.take(pa.array(kept)), contract)
        expect_events(table, contract, pipeline.batch.gates, pin)  # 2, 3
        if broken:
            raise _unfit(stored, broken, contract, pin)  # 4
        _note_conflicts(settings, counts.conflicts, pin, identity)  # 5
    return Plan(
        use_case=pin.use_case,
        day=pin.day,
        run_id=pin.run_id,
        approval=pin.approval,
        model_version=pin.model_version,
        digest=pin.digest,
        source=contract.source,
        input_fingerprint=found,
        input_rows=rows,
        input_copies=copies,
        input_refused=refused,
        publish_id=identity,
        published=published,
    )


def expect_events(table: pa.Table, contract: Contract, gates: Gates, pin: Pin) -> None:
    """The gates of a day, by Great Expectations. Raises CheckFailed naming all it misses."""
    from lockstep.batch.expectations import context, gate, gxe, unmet

    source = context().data_sources.add_pandas("lake")

    def batch(name: str, frame: Any) -> Any:
        asset = source.add_dataframe_asset(name)
        return asset.add_batch_definition_whole_dataframe("day").get_batch({"dataframe": frame})

    told = {
        "what": f"{contract.source}/date={pin.day}",
        "left": _LEFT,
        "next": "correct the day's batches in the lake, or the gates in"
        f" models/{pin.use_case}/pipeline.toml; then lockstep score {pin.use_case}"
        f" --partition {pin.day}",
    }
    ids = batch("ids", table.select([contract.id]).to_pandas())
    count = gxe.ExpectTableRowCountToBeBetween(min_value=gates.min_rows, max_value=gates.max_rows)
    gate(unmet(ids, [count]), **told)
    # Not an error: the same id at another time is another event. But somebody should know.
    for failure in unmet(ids, [gxe.ExpectColumnValuesToBeUnique(column=contract.id)]):
        _log.warning("one %s at several times: %s", contract.id, failure)
    sample = sample_frame(table, contract)
    failures = unmet(
        batch("sample", sample),
        expectations_of(contract, gates),
        name=lambda row: f"{contract.id} {sample[contract.id].iloc[row]!r}",
        hidden=[field.name for field in contract.fields if field.sensitive],
    )
    gate(failures, **told)


def _refused(
    stored: pa.Table, counts: Counted, contract: Contract, pin: Pin
) -> tuple[dict[int, str], int]:
    """The rows that somebody loaded and that are refused; and how many from Kafka are."""
    if not counts.reasons:
        return {}, 0
    landed = stored.column(LANDED.names[1]).is_valid().to_numpy()
    broken = {row: reason for row, reason in counts.reasons.items() if not landed[row]}
    refused = Counter(
        kind_of(reason) for row, reason in counts.reasons.items() if row not in broken
    )
    if refused:
        told = told_refused(refused, f"{contract.source}/date={pin.day}")
        _log.warning("not scored%s: the stream refused them, too", told)
    return broken, refused.total()


def _unfit(
    stored: pa.Table, broken: Mapping[int, str], contract: Contract, pin: Pin
) -> ContractError:
    """Rows that can be corrected, with value, field and id of the first."""
    row = min(broken)
    return ContractError(
        f"{len(broken):,} of {stored.num_rows:,} rows in {contract.source}/date={pin.day} do not"
        f" fit {contract.name}, e.g. {contract.id}"
        f" {stored.column(contract.id)[row].as_py()!r}: {broken[row]}",
        left=_LEFT,
        next="correct these events and load their batch into the lake again",
    )


def _note_conflicts(
    settings: Settings, conflicts: Sequence[Conflict], pin: Pin, identity: str
) -> None:
    if not conflicts:
        return
    first = conflicts[0]
    _log.warning(
        "%s events of %s have copies that do not say the same, e.g. %r at %s in %s; the first copy"
        " is scored: select * from conflicting_copies where event_date = '%s'",
        *(f"{len(conflicts):,}", pin.day, first.id, first.time.isoformat()),
        *(", ".join(first.fields), pin.day),
    )
    found = [ConflictingCopies(c.id, c.time, c.places, c.fields) for c in conflicts]
    with connect(settings, "scorer", pin.use_case) as connection:
        connection.autocommit = True
        record(connection, pin.day, identity, found)


def sample_frame(table: pa.Table, contract: Contract) -> Any:
    """At most SAMPLE_ROWS events, evenly spread; timestamps as the contract counts them, and
    null for what reads as null."""
    step = -(-table.num_rows // SAMPLE_ROWS)
    if step > 1:
        table = table.take(pa.array(range(0, table.num_rows, step)))
    table = spelled_nulls(contract, table)
    for number, field in enumerate(contract.fields):
        if field.kind == "timestamp":
            column = table.column(number).cast(pa.int64())
            table = table.set_column(number, field.name, column)
    return table.to_pandas()


def expectations_of(contract: Contract, gates: Gates) -> Iterator[Any]:
    """What a sample's columns must be: not null, and what the contract says."""
    from lockstep.batch.expectations import fits_contract, gxe

    for field in contract.fields:
        nulls = gates.max_null_fractions.get(field.name, gates.max_null_fraction)
        present = 1 - nulls if field.nullable else 1
        yield gxe.ExpectColumnValuesToNotBeNull(column=field.name, mostly=present)
        yield fits_contract(contract, field.name)
