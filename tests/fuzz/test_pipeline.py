"""pipeline.toml as an entrance: whatever stands there is taken, or refused by file and key."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hypothesis import strategies as st

from lockstep.errors import UsageError
from lockstep.launch import batch_dag
from lockstep.launch.runs import faults_of
from lockstep.pipeline import Pipeline
from tests.fuzz.amount import AMOUNTS, fuzz
from tests.small_model import REPOSITORY

ORIGINAL = (REPOSITORY / "models/flight_delay/pipeline.toml").read_text()
LINES = ORIGINAL.splitlines()

_WORDS = st.sampled_from(
    [
        *(
            '""',
            '"x"',
            '"flight_delay"',
            '"flight_delay.events"',
            '"../x"',
            '"@daily"',
            '"* * * * *"',
        ),
        *("nan", "inf", "-inf", "0", "-1", "1e308", "2.5", "9" * 5000, "0x7fffffffffffffff"),
        *("true", "[]", "[[]]", "{}", "{a = 1}", "2013-01-01", "2013-01-01T00:00:00Z", "07:32:00"),
        *("0001-01-01", "9999-12-31", '"\\u0000"', "'''\n'''", '"' + "k" * 300 + '"', "[" * 3000),
    ]
)
_KEYS = st.sampled_from(
    [line.partition(" =")[0] for line in LINES if " = " in line]
    + ["unknown", '"k\\u0000"', '""', "batch.gates.min_rows", "topics", "stream.x", "__class__"]
)
_LINE = st.one_of(
    st.builds("{} = {}".format, _KEYS, _WORDS),
    st.sampled_from(
        ["[topics]", "[batch]", "[x.y]", "[[state]]", "[stream", "# ", "=", "\x00", "é"]
    ),
    st.text(max_size=30),
)
"""What may stand in the place of a line, or beside it."""
_EDIT = st.tuples(st.integers(0, len(LINES) - 1), st.booleans(), _LINE)


@AMOUNTS
def test_an_edited_pipeline_is_taken_or_refused(amount: int, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "flight_delay"
    folder.mkdir(parents=True)
    # Its neighbour stays, whatever happens.
    neighbour = tmp_path / "models" / "neighbour"
    neighbour.mkdir()
    (neighbour / "pipeline.toml").write_text(ORIGINAL.replace("flight_delay", "neighbour"))

    def check(edits: list[tuple[int, bool, str]]) -> None:
        lines = list(LINES)
        for number, beside, line in edits:
            lines[number] = f"{lines[number]}\n{line}" if beside else line
        _judge(folder / "pipeline.toml", "\n".join(lines).encode("utf-8", "surrogatepass"))

    fuzz(amount, check, edits=st.lists(_EDIT, min_size=1, max_size=4))


@AMOUNTS
def test_any_bytes_are_taken_or_refused(amount: int, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "flight_delay"
    folder.mkdir(parents=True)
    fuzz(amount, lambda data: _judge(folder / "pipeline.toml", data), data=st.binary(max_size=200))


def _judge(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    models = path.parents[1]
    good, refused = Pipeline.load_all(models)
    assert set(good) | set(refused) == set(Pipeline.use_cases(models))
    assert "neighbour" not in refused
    if error := refused.get("flight_delay"):
        assert isinstance(error, UsageError)
        assert str(path) in error.message
        assert error.next
        assert len(str(error)) < 3000
        assert str(error).replace("\n", "").isprintable()
    else:
        tomllib.loads(content.decode())
        assert good["flight_delay"].use_case == "flight_delay"
        assert faults_of(path.parents[2], batch_dag) == [], "what is taken makes a DAG"
