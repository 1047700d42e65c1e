"""Great Expectations, kept to what a gate needs: a list of expectations in, failures out.

Importing this module imports Great Expectations, which takes seconds: only the check steps do.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lockstep.contracts import Contract, FieldValidator
from lockstep.errors import CheckFailed, Transient, UsageError

# Read when Great Expectations is imported: it would report usage over the network.
os.environ["GX_ANALYTICS_ENABLED"] = "false"

# It would import Spark too, if it found it: a second of every check, for what none of them uses.
_spark = sys.modules.get("pyspark")
sys.modules["pyspark"] = None  # type: ignore[assignment]
try:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import ColumnMapExpectation
    from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (  # noqa: E501
        column_condition_partial,
    )
    from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (  # noqa: E501
        ColumnMapMetricProvider,
    )
except ImportError as error:
    raise UsageError(
        f"the batch checks need Great Expectations: {error}", next="uv sync --extra batch"
    ) from None
finally:
    del sys.modules["pyspark"]
    if _spark is not None:
        sys.modules["pyspark"] = _spark

__all__ = ["Failure", "context", "fits_contract", "gate", "gxe", "unmet"]

gxe: Any = gx.expectations
"""The expectations by name; its own package does not say what it exports."""

_EXAMPLES = 3
_SHOWN = 5
_FITS = "column_values.fit_contract"


class FitContract(ColumnMapMetricProvider):
    """Which values of a column keep a contract, by the validator that everybody else asks.

    Great Expectations finds it by its name, leaves nulls out, and hands over a pandas Series.
    """

    condition_metric_name = _FITS
    condition_value_keys = ("contract",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: Any, contract: str, **_: Any) -> Any:  # noqa: N805
        wrong = FieldValidator(_contract(contract).by_name[column.name]).violations(
            column.to_numpy()
        )
        fits = column.notna()
        fits.iloc[list(wrong)] = False
        return fits


class ExpectColumnValuesToFitContract(ColumnMapExpectation):
    """Each value of a column that is not null keeps the field's contract."""

    contract: str
    """Its document, as JSON."""
    expected: str
    """The same of this field, in words."""
    map_metric = _FITS
    success_keys = ("mostly", "contract")


def fits_contract(contract: Contract, field: str) -> Any:
    """The expectation that a pandas column, which has nulls for nulls, keeps the contract."""
    return ExpectColumnValuesToFitContract(
        column=field,
        contract=json.dumps(contract.document),
        expected=contract.by_name[field].expected,
    )


@lru_cache(maxsize=8)
def _contract(document: str) -> Contract:
    return Contract.from_document(json.loads(document))


@dataclass(frozen=True)
class Failure:
    """An expectation that a batch does not meet."""

    expectation: str
    field: str | None
    observed: str
    """What was found instead, with a few examples."""

    def __str__(self) -> str:
        return f"{self.expectation}{f'({self.field})' if self.field else ''}: {self.observed}"


def context() -> Any:
    """A context that keeps nothing on disk, draws no bars and calls nobody."""
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    found = gx.get_context(mode="ephemeral")
    found.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return found


def unmet(
    batch: Any,
    expectations: Iterable[Any],
    *,
    name: Callable[[int], str] | None = None,
    hidden: Sequence[str] = (),
) -> list[Failure]:
    """The expectations that `batch` does not meet, in order.

    Raises Transient when one could not be evaluated, as its data store went away.
    `name` says which event a row position is; fields in `hidden` show no values.
    """
    suite = gx.ExpectationSuite("gates", expectations=list(expectations))
    outcome = batch.validate(
        suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": _EXAMPLES}
    )
    for result in outcome.results:
        _raise_unevaluated(result)
    return [_failure(result, name, hidden) for result in outcome.results if not result.success]


def gate(failures: Sequence[Failure], *, what: str, left: str, next: str) -> None:
    """Raise CheckFailed with every failure (a handful in full) when there is one."""
    if not failures:
        return
    lines = [f"  {failure}" for failure in failures[:_SHOWN]]
    if len(failures) > _SHOWN:
        lines.append(f"  and {len(failures) - _SHOWN} more")
    count = f"{len(failures)} expectation{'s' if len(failures) > 1 else ''}"
    raise CheckFailed("\n".join([f"{what} does not meet {count}:", *lines]), left=left, next=next)


def _raise_unevaluated(result: Any) -> None:
    """An expectation that could not be evaluated says nothing of the data: it is not a failure."""
    info = result.exception_info or {}
    # One entry for the expectation, or one for each of its metrics.
    entries = [info] if "exception_message" in info else list(info.values())
    for entry in entries:
        if entry["exception_message"]:
            raise Transient(
                f"{result.expectation_config.type} could not be evaluated:"
                f" {str(entry['exception_message']).strip().splitlines()[0]}",
                left="nothing that readers see",
                next="lockstep status; then run the day again",
            )


def _failure(result: Any, name: Callable[[int], str] | None, hidden: Sequence[str]) -> Failure:
    config, found = result.expectation_config, result.result
    field = config.kwargs.get("column") or ", ".join(config.kwargs.get("column_list", ())) or None
    if "unexpected_count" in found:
        observed = _unexpected(found, name, hide=field in hidden)
    else:
        observed = f"observed {found.get('observed_value')!r}"
    bounds = _bounds(config.kwargs)
    return Failure(config.type, field, f"{observed}{f', expected {bounds}' if bounds else ''}")


def _unexpected(found: dict[str, Any], name: Callable[[int], str] | None, *, hide: bool) -> str:
    text = f"{found['unexpected_count']:,} of {found['element_count']:,} values"
    values = ["(sensitive)" if hide else repr(v) for v in found["partial_unexpected_list"]]
    rows = found.get("partial_unexpected_index_list") or ()
    if name and rows:
        examples = [f"{value} in {name(row)}" for value, row in zip(values, rows, strict=False)]
    else:
        examples = values
    return f"{text}, e.g. {'; '.join(examples[:_EXAMPLES])}" if examples else text


def _bounds(kwargs: dict[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if low is not None or high is not None:
        return f"between {low:,} and {high:,}"
    if "expected" in kwargs:
        return str(kwargs["expected"])
    if "value" in kwargs:
        return f"{kwargs['value']:,}"
    mostly = kwargs.get("mostly", 1)
    return f"at least {mostly:.0%} of them" if mostly != 1 else ""
