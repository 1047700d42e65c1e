"""Addresses: whatever is set is taken or refused by its setting's name, and no password is shown.

A password with a mark in it is planted into addresses as people write them: encoded or not, with
SQLAlchemy's prefix, with quotes around, cut, doubled, turned into keywords. The mark may then
appear in no message, no repr, no log record and no traceback.
"""

from __future__ import annotations

import logging
import os
import traceback
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import strategies as st

from lockstep.cli import main
from lockstep.errors import LockstepError, Unreachable, UsageError
from lockstep.registry.rest import Rest
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect, conninfo, where
from tests.fuzz.amount import AMOUNTS, fuzz

MARK = "Pl4ntedS3cret"
NOWHERE = "127.0.0.1:1"
"""Where nothing listens: a connection there fails at once."""

around = st.text(
    st.one_of(
        st.sampled_from("@:/?#%&='\"\\ []{},;$!+~^|<>`\t\n"),
        st.characters(min_codepoint=1, max_codepoint=0x2FF, categories=("L", "N", "P", "S")),
    ),
    max_size=6,
)
passwords = st.tuples(around, around).map(lambda both: both[0] + MARK + both[1])
SHAPES = {
    "LOCKSTEP_SCORER_URL": [
        f"postgresql://user:#@{NOWHERE}/lockstep",
        f"postgres://user:#@{NOWHERE}/lockstep?sslmode=disable",
        f"postgresql+psycopg://user:#@{NOWHERE}/lockstep",
        f'"postgresql://user:#@{NOWHERE}/lockstep"',
        f"'postgresql://user:#@{NOWHERE}/lockstep",
        f"postgresql://{NOWHERE}/lockstep?user=user&password=#",
        f"postgresql://:#@{NOWHERE}/lockstep",
        "postgresql://user:#@[::1]:1/lockstep",
        "postgresql://user:#@/lockstep?host=/nowhere",
        "host=127.0.0.1 port=1 user=user password=#",
        "host=127.0.0.1 password='#' port=1 user=user",
        "user:#@127.0.0.1",
        "jdbc:postgresql://127.0.0.1:1/lockstep?user=user&password=#",
    ],
    "LOCKSTEP_MLFLOW": [
        f"http://user:#@{NOWHERE}",
        f"https://user:#@{NOWHERE}/prefix",
        f"mlflow://user:#@{NOWHERE}",
        f"user:#@{NOWHERE}",
        f"http:/user:#@{NOWHERE}",
    ],
    "LOCKSTEP_KAFKA": [
        f"user:#@{NOWHERE}",
        f"SASL_SSL://user:#@{NOWHERE}",
        f"{NOWHERE},user:#@{NOWHERE}",
    ],
    "LOCKSTEP_LAKE": ["s3a://key:#@bucket/lake", "s3://key:#@bucket", "s3a:/key:#@bucket"],
}
addresses = st.sampled_from(
    [(setting, shape) for setting, shapes in SHAPES.items() for shape in shapes]
)
slips = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(["double", "insert", "quote"]),
        st.integers(0, 200),
        st.sampled_from("@:/?%&= '\"[]\\"),
    ),
)


def slipped(address: str, slip: tuple[str, int, str] | None) -> str:
    """The address with a slip of the hand in it, not inside the mark."""
    if slip is None:
        return address
    how, place, character = slip
    place %= len(address) + 1
    mark = address.find(MARK)
    if mark < place < mark + len(MARK):
        place = mark
    if how == "quote":
        return f"{character}{address}{character}"
    if how == "double":
        return address[:place] + address[max(place - 1, 0) :]
    return address[:place] + character + address[place:]


@AMOUNTS
def test_no_address_is_echoed(amount, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    outcomes = {"taken": 0, "refused": 0}

    def check(
        at: tuple[str, str], password: str, encoded: bool, slip: tuple[str, int, str] | None
    ) -> None:
        setting, shape = at
        address = slipped(
            shape.replace("#", quote(password, safe="") if encoded else password), slip
        )
        shown: list[str] = []
        given = {setting: address, "LOCKSTEP_HOME": str(tmp_path)}
        with mock.patch.dict(os.environ, given):
            settings, refusal = loaded()
            if refusal is not None:
                outcomes["refused"] += 1
                assert str(refusal).startswith(f"{setting} ")
                assert "next: " in str(refusal)
                shown += ["".join(traceback.format_exception(refusal)), repr(refusal)]
            if settings is not None:
                outcomes["taken"] += 1
                shown += [repr(settings), str(settings), settings.kafka, settings.lake]
                shown += uses(settings, setting)
        found = [text for text in (*shown, caplog.text) if MARK in text]
        caplog.clear()
        assert not found

    fuzz(amount, check, at=addresses, password=passwords, encoded=st.booleans(), slip=slips)
    assert min(outcomes.values()) > amount / 20, outcomes


def loaded() -> tuple[Settings | None, UsageError | None]:
    try:
        return Settings.load(), None
    except UsageError as error:
        return None, error


def uses(settings: Settings, setting: str) -> list[str]:
    """What whoever uses an address that was taken may say."""
    if setting == "LOCKSTEP_SCORER_URL":
        info = conninfo(settings, "scorer", "flight_delay")
        if where(info) != NOWHERE:
            return [where(info)]
        with pytest.raises(LockstepError) as refused:
            connect(settings, "scorer", "flight_delay")
        return [where(info), "".join(traceback.format_exception(refused.value))]
    if setting == "LOCKSTEP_MLFLOW":
        server = Rest(settings.mlflow)
        if f"//{NOWHERE}" not in server.url:
            return [server.url]
        with pytest.raises(Unreachable) as away:
            server.get("registered-models/get", {"name": "x"}, dict)
        return [server.url, "".join(traceback.format_exception(away.value))]
    return []


@pytest.mark.parametrize(
    ("setting", "shape"),
    [
        ("LOCKSTEP_SCORER_URL", f"postgresql://user:#@{NOWHERE}/lockstep"),
        ("LOCKSTEP_MLFLOW", f"http://user:#@{NOWHERE}/prefix"),
    ],
)
def test_whoever_finds_nobody_at_an_address_shows_no_password(monkeypatch, setting, shape):
    """What the fuzzer tries where it draws an address that is taken, and leads nowhere."""
    monkeypatch.setenv(setting, shape.replace("#", MARK))
    shown = uses(Settings.load(), setting)
    assert len(shown) == 2
    assert NOWHERE in shown[1]
    assert MARK not in "".join(shown)


@pytest.mark.parametrize(
    "words", [("query", "flight_delay", "select 1"), ("models", "flight_delay")]
)
@pytest.mark.parametrize(
    "address",
    [
        f"postgresql+psycopg://u:{MARK}@{NOWHERE}/db",
        f"postgresql://u:50%{MARK}@{NOWHERE}/db",
        f"postgresql://u:a/{MARK}@{NOWHERE}/db",
    ],
)
def test_a_command_shows_its_user_no_password(monkeypatch, capsys, words, address):
    for role in ("SCORER", "ANALYST"):
        monkeypatch.setenv(f"LOCKSTEP_{role}_URL", address)
    monkeypatch.setattr("sys.argv", ["lockstep", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert "LOCKSTEP_SCORER_URL" in shown.err
    assert MARK not in shown.out + shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("LOCKSTEP_SCORER_URL", "postgresql://lockstep_scorer:p%40ss@db.example.com:5432/lockstep"),
        ("LOCKSTEP_SCORER_URL", "postgres://user@a.example.com:1,b.example.com:2/db"),
        ("LOCKSTEP_SCORER_URL", "postgresql://u:p:q!$&'()*+,;=~#@[2001:db8::1]:5432/db"),
        ("LOCKSTEP_SCORER_URL", "postgresql:///db?host=/var/run/postgresql&user=u"),
        ("LOCKSTEP_SCORER_URL", "postgresql://u:p@%2Fvar%2Frun/db?options=-c%20work_mem%3D7MB"),
        ("LOCKSTEP_MLFLOW", "https://user:p%40ss@mlflow.example.com/below/here"),
        ("LOCKSTEP_MLFLOW", "http://127.0.0.1:5000/"),
        ("LOCKSTEP_KAFKA", "broker-1.example.com:9092, broker-2.example.com:9092"),
        ("LOCKSTEP_KAFKA", "[::1]:9092"),
        ("LOCKSTEP_LAKE", "/data/lake of ours"),
        ("LOCKSTEP_LAKE", "s3a://bucket/lake"),
        ("LOCKSTEP_LAKE", "hdfs://namenode:8020/lake"),
        ("LOCKSTEP_LAKE", "file:///data/lake"),
        ("LOCKSTEP_LAKE", "abfss://container@account.dfs.core.windows.net/lake"),
    ],
)
def test_what_an_address_may_be(monkeypatch, setting, address):
    monkeypatch.setenv(setting, address)
    settings = Settings.load()
    assert address in (settings.kafka, settings.mlflow, settings.lake) or (
        settings.url("scorer") == address
    )


@pytest.mark.parametrize(
    ("setting", "address", "wrong"),
    [
        ("LOCKSTEP_SCORER_URL", "", "is empty"),
        ("LOCKSTEP_SCORER_URL", "postgresql+psycopg://u:p@h/db", "names a driver"),
        ("LOCKSTEP_SCORER_URL", "postgresql://u:50%off@h/db", "write %25 for a %"),
        ("LOCKSTEP_SCORER_URL", "postgresql://u:a@b@h/db", "write %40 for an @"),
        ("LOCKSTEP_SCORER_URL", "postgresql://u:a/b@h/db", "%2F for a /"),
        ("LOCKSTEP_SCORER_URL", "postgresql://u:p@h:99999/db", "HOST:PORT"),
        ("LOCKSTEP_SCORER_URL", "postgresql://u:p@h/db?colour=red", "libpq does not know"),
        ("LOCKSTEP_SCORER_URL", "host=h password=p", "space"),
        ("LOCKSTEP_MLFLOW", "mlflow.example.com:5000", "http://"),
        ("LOCKSTEP_MLFLOW", "file:///etc/passwd", "http://"),
        ("LOCKSTEP_MLFLOW", "http://", "names no host"),
        ("LOCKSTEP_MLFLOW", "http://:5000", "HOST:PORT"),
        ("LOCKSTEP_MLFLOW", "http://host:port", "HOST:PORT"),
        ("LOCKSTEP_MLFLOW", "http://host:99999", "HOST:PORT"),
        ("LOCKSTEP_MLFLOW", "http://[::1", "HOST:PORT"),
        ("LOCKSTEP_MLFLOW", "http://" + "x" * 300 + ".example", "HOST:PORT"),
        ("LOCKSTEP_MLFLOW", "http://a..example", "HOST:PORT"),
        ("LOCKSTEP_MLFLOW", "http://%2Fsocket", "HOST:PORT"),
        ("LOCKSTEP_MLFLOW", "http://host/?a=b", "a ? or a #"),
        ("LOCKSTEP_MLFLOW", "http://host/b\u00e9low", "percent-encoded"),
        ("LOCKSTEP_KAFKA", "broker", "HOST:PORT"),
        ("LOCKSTEP_KAFKA", "kafka://broker:9092", "has a scheme"),
        ("LOCKSTEP_KAFKA", "broker:0", "HOST:PORT"),
        ("LOCKSTEP_LAKE", "s3a://key:word@bucket/lake", "give those to Spark"),
        ("LOCKSTEP_LAKE", "s3://bucket?secret_key=x", "give those to Spark"),
        ("LOCKSTEP_LAKE", "s3:/bucket", "write SCHEME://BUCKET/FOLDER"),
    ],
)
def test_an_address_that_is_wrong_is_refused_by_its_setting_and_the_reason(
    monkeypatch, setting, address, wrong
):
    monkeypatch.setenv(setting, address)
    with pytest.raises(UsageError, match=f"^{setting} ") as refused:
        Settings.load()
    assert wrong in refused.value.message
    assert refused.value.next == f"correct {setting} in the environment or in .env"
