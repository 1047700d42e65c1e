"""Schemas as older releases had them, for tests of what migrates them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockstep.warehouse.migrate import MIGRATIONS, upgrade
from tests.house import A, House


@pytest.fixture
def name() -> str:
    return f"test_{uuid.uuid4().hex[:10]}"


def of_release(tmp_path, newest: str) -> Path:
    """The migrations up to one, as an older release had them."""
    scripts = tmp_path / f"until_{newest}"
    shutil.copytree(MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    for script in (scripts / "versions").glob("*.py"):
        if script.name[:4] > newest:
            script.unlink()
    return scripts


@pytest.fixture(params=["0001", "0002"])
def old(request, warehouse_settings, name, tmp_path) -> Iterator[House]:
    """A schema of an older release: a published day, a staged one, and a stream, all scorer's."""
    assert upgrade(warehouse_settings, name, of_release(tmp_path, request.param)).changed
    house = House(warehouse_settings, name)
    with house.connect("releaser") as releaser:
        releaser.execute(
            "insert into approvals (sequence, model_version, digest, approver, reason)"
            " values (1, 1, %s, 'Ada', 'a test')",
            (A,),
        )
    with house.connect() as conn:
        conn.execute(_OF_AN_OLDER_RELEASE)
    yield house
    for conn in house.opened:
        conn.close()


_OF_AN_OLDER_RELEASE = f"""
create table predictions_batch_20131001 (like predictions_batch including all)
    partition by list (publish_id);
alter table predictions_batch attach partition predictions_batch_20131001
    for values from ('2013-10-01') to ('2013-10-02');
create table stage_1 (like predictions_batch including defaults,
    primary key (event_date, publish_id, event_id, event_time));
insert into stage_1 select '2013-10-01', repeat('ab', 16), 'e' || n, '2013-10-01 01:00Z', null, 0.5
    from generate_series(1, 5) n;
alter table stage_1 rename to predictions_batch_20131001_{"ab" * 12};
alter table predictions_batch_20131001 attach partition predictions_batch_20131001_{"ab" * 12}
    for values in ('{"ab" * 16}');
insert into current_publish values ('2013-10-01', repeat('ab', 16), 1);
insert into publish_log (attempt, event_date, publish_id, approval, model_version, digest, rows,
    checksum, input_fingerprint, run_id)
    values (1, '2013-10-01', repeat('ab', 16), 1, 1, '{A}', 5, 'sum', 'inputs', 'run');
insert into batch_attempts (attempt, event_date, publish_id, digest, model_version, approval,
    input_fingerprint, input_rows, run_id, state, staged_rows, checksum)
    values (1, '2013-10-01', repeat('ab', 16), '{A}', 1, 1, 'inputs', 5, 'run', 'published', 5,
        'sum');
create table stage_2 (like predictions_batch including defaults,
    primary key (event_date, publish_id, event_id, event_time));
insert into stage_2 select '2013-10-01', repeat('cd', 16), 'e', '2013-10-01 01:00Z', null, 0.75;
revoke insert, update, delete, truncate on stage_2 from current_user;
insert into batch_attempts (attempt, event_date, publish_id, digest, model_version, approval,
    input_fingerprint, input_rows, run_id, state, staged_rows, checksum, stage_table, finished_at)
    values (2, '2013-10-01', repeat('cd', 16), '{A}', 1, 1, 'other', 1, 'run', 'staged', 1,
        'sum', 'stage_2', now());
select nextval('attempt_numbers'), nextval('attempt_numbers');
create table predictions_stream_20131001 (like predictions_stream including all);
alter table predictions_stream attach partition predictions_stream_20131001
    for values from ('2013-10-01') to ('2013-10-02');
insert into streams (topic, topic_uuid) values ('events', 'u');
insert into predictions_stream (event_date, stream_id, event_id, event_time, score, approval,
    kafka_partition, kafka_offset)
    values ('2013-10-01', 1, 'before', '2013-10-01 01:00Z', 0.25, 1, 0, 0);
-- What an owner may give: to everybody, and to a login by its name.
grant all on predictions_stream_20131001 to public;
grant update (score) on predictions_batch_20131001_{"ab" * 12} to lockstep_scorer;
"""
