"""The few calls of Airflow's REST API that the demo needs."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import date
from typing import Any, Self

from lockstep.settings import Settings

__all__ = ["Airflow"]

_PARSE_LIMIT_S = 90


class Airflow:
    """A logged-in client."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self.address, self.user, self.password = address, user, password
        self._token: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The local stack's Airflow, with the password that `lockstep up` made."""
        passwords = json.loads((settings.home / "airflow" / "passwords.json").read_text())
        ((user, password),) = passwords.items()
        return cls(settings.airflow, user, password)

    def backfill(self, dag: str, first: date, last: date) -> None:
        """Ask the scheduler for the days `first` to `last`, also for those that have a run.

        Running a day again whose input and model are the same changes nothing.
        """
        self._unpause(dag)
        self._call(
            "POST",
            "/backfills",
            {
                "dag_id": dag,
                "from_date": f"{first}T00:00:00Z",
                "to_date": f"{last}T00:00:00Z",
                "max_active_runs": 1,
                "reprocess_behavior": "completed",
                "dag_run_conf": {},
            },
        )

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run now, of no particular day; its id."""
        self._unpause(dag)
        body = {"logical_date": None, "conf": conf}
        return str(self._call("POST", f"/dags/{dag}/dagRuns", body)["dag_run_id"])

    def state(self, dag: str, run: str) -> str:
        return str(self._call("GET", f"/dags/{dag}/dagRuns/{urllib.parse.quote(run)}")["state"])

    def _unpause(self, dag: str) -> None:
        """Wait until Airflow knows the DAG, and let it run."""
        deadline = time.monotonic() + _PARSE_LIMIT_S
        while not self._exists(dag):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Airflow at {self.address} has not found the DAG {dag}")
            time.sleep(0.5)
        self._call("PATCH", f"/dags/{dag}", {"is_paused": False})

    def runs(self, dag: str) -> dict[str, str]:
        """Day of the partition -> state of its run."""
        found = self._call("GET", f"/dags/{dag}/dagRuns?limit=100&order_by=-run_after")
        return {
            run["data_interval_start"][:10]: run["state"]
            for run in found["dag_runs"]
            if run["data_interval_start"]
        }

    def _exists(self, dag: str) -> bool:
        try:
            self._call("GET", f"/dags/{dag}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False
        return True

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if self._token is None and path != "/auth/token":
            login = {"username": self.user, "password": self.password}
            self._token = self._send("POST", "/auth/token", login)["access_token"]
        return self._send(method, f"/api/v2{path}", body)

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address of our own stack
            self.address + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self._token}"} if self._token else {}),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None
