#!/bin/sh
# Run once by the official Postgres image when its data folder is empty: the logins and databases
# that `lockstep up` makes as well.
set -eu

login() {
  psql --set=ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --set=name="$1" --set=word="$2" <<'SQL'
create role :"name" login password :'word';
SQL
}

database() {
  psql --set=ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --set=name="$1" --set=owner="$2" <<'SQL'
create database :"name" owner :"owner";
revoke all on database :"name" from public;
SQL
}

login lockstep_owner "$OWNER_PASSWORD"
login lockstep_scorer "$SCORER_PASSWORD"
login lockstep_releaser "$RELEASER_PASSWORD"
login lockstep_analyst "$ANALYST_PASSWORD"
login airflow "$AIRFLOW_PASSWORD"
login mlflow "$MLFLOW_PASSWORD"
database lockstep lockstep_owner
database airflow airflow
database mlflow mlflow
psql --set=ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" <<'SQL'
alter role lockstep_owner createrole;
grant lockstep_analyst to lockstep_owner with admin true, inherit false, set false;
grant connect on database lockstep to lockstep_scorer, lockstep_releaser, lockstep_analyst;
SQL
