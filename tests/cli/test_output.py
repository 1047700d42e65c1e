"""Every JSON document is JSON, and no text steers a terminal."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.cli.output import as_json_text, visible
from tests.small_model import REPOSITORY

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.builds(np.float32, st.floats(width=32))
    | st.lists(st.floats(width=32)).map(lambda found: np.array(found, np.float32)),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.dates(), inner)
    ),
    max_leaves=8,
)


def strictly(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@given(ANYTHING)
def test_whatever_is_found_becomes_json(value: Any) -> None:
    text = as_json_text(value)
    strictly(text)
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([float("nan"), float("inf"), -float("inf"), 1.5], '["NaN", "Infinity", "-Infinity", 1.5]'),
        (np.array([np.nan, 0.1], np.float64), '["NaN", 0.1]'),
        (np.int64(3), "3"),
        (Decimal("0.12345678901234567890123"), "0.12345678901234567890123"),
        (Decimal("NaN"), '"NaN"'),
        (date(2013, 10, 1), '"2013-10-01"'),
        (datetime(2013, 10, 1, 3, tzinfo=UTC), '"2013-10-01T03:00:00+00:00"'),
        (time(3, 4), '"03:04:00"'),
        (timedelta(days=2), '"2 days, 0:00:00"'),
        (b"\x00\xff", r'"\\x00ff"'),
        (uuid.UUID(int=1), f'"{uuid.UUID(int=1)}"'),
        (IPv4Network("10.0.0.0/8"), '"10.0.0.0/8"'),
        ({1: None, "a": True}, '{"1": null, "a": true}'),
        (Path("a/b"), '"a/b"'),
        ("é\x1b[31m", r'"\u00e9\u001b[31m"'),
    ],
)
def test_what_a_value_becomes(value: Any, expected: str) -> None:
    assert as_json_text(value) == expected
    strictly(expected)


def test_no_command_writes_json_by_another_way() -> None:
    """One encoder: the only call of json.dumps in the commands' code is in it."""
    for path in (REPOSITORY / "lockstep/cli").glob("*.py"):
        called = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        assert "dumps" not in called or path.name == "output.py", path


def test_each_command_that_takes_json_prints_it_by_the_one_encoder() -> None:
    found = set()
    for path in (REPOSITORY / "lockstep/cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "json_option" in map(
                ast.unparse, node.decorator_list
            ):
                called = {ast.unparse(c.func) for c in ast.walk(node) if isinstance(c, ast.Call)}
                assert "emit" in called, node.name
                found.add(node.name)
    assert {"query", "train", "audit", "replay", "status", "dlq_list"} <= found


@pytest.mark.parametrize(
    "words", [("query", "--json"), ("nonsense", "--json"), ("score", "x", "--json", "--no")]
)
def test_wrong_usage_is_json_as_well(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lockstep.cli", *words],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 2
    assert not done.stdout
    assert strictly(done.stderr)["kind"] == "UsageError"


def test_control_characters_are_shown_and_lines_stay_lines() -> None:
    shown = visible("a\x1b[31mb\rc\u202ed\x9be\nZürich ━ 東京\x00")
    assert shown == "a\\x1b[31mb\\rc\\u202ed\\x9be\nZürich ━ 東京\\x00"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stream", "flight_delay", "--port", "99999999"), "99999999 is not in the range"),
        (("stream", "flight_delay", "--port", "0"), "0 is not in the range"),
        (("dlq", "list", "flight_delay", "--limit", "-3"), "-3 is not in the range"),
        (
            ("replay", "flight_delay", "--from", "2013-10-02", "--to", "2013-10-01"),
            "--from 2013-10-02 is after --to 2013-10-01",
        ),
        (
            ("replay", "flight_delay", "--from", "2013-10-01", "--to", "2013-10-01", "--rate", "0"),
            "--rate is '0', not a positive number",
        ),
        (
            ("audit", "flight_delay", "--partition", "2013-10-01", "--topic", "a b"),
            "'a b' is no name",
        ),
    ],
)
def test_what_no_command_can_do_is_said_before_it_begins(words: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lockstep.cli", *words],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
