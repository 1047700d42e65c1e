"""Every view that analysts read, and each of its columns, says what it is.

Runs as USE_CASE_owner. A view that is replaced keeps its comments; a new column needs one.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

PREDICTION = {
    "source": "What made the row: batch (the nightly run) or stream (the worker).",
    "event_date": "The UTC day of event_time. Name it in a query, and only that day is read.",
    "event_id": "The event's id, as its producer sent it.",
    "event_time": "When the event happened. Id and time together name one event.",
    "entity": "What the event is about, such as a carrier; null if its contract names no such"
    " field.",
    "score": "What the model answers: a probability, or a number in the label's unit.",
    "margin": "The sum over the model's trees, before the link makes a score of it.",
    "window_values": "The window values that were scored, in the order of the model's windows"
    " (lockstep inspect lists them); null if it has none.",
    "model_version": "The registered version of the model that scored the event.",
    "model_digest": "The sha256 of that model's file, in hexadecimal.",
    "publish_id": "Which publish of the day the row came with; null for the stream.",
    "topic": "The Kafka topic that the event was read from; null for batch.",
    "kafka_partition": "The event's partition of that topic; null for batch.",
    "kafka_offset": "The event's offset in that partition; null for batch.",
    "available_at": "Since when the row can be read: the day's publish, or the worker's write.",
    "incomplete": "Whether the worker scored it without all of the state that its windows see."
    " Always false for batch.",
}

VIEWS = {
    "predictions": (
        "Every prediction that counts: of each day the current publish, and all of the stream. An"
        " event that both have scored has two rows.",
        PREDICTION,
    ),
    "latest_predictions": (
        "One row for each event: the published batch row, else the stream's; of several topics the"
        " one that was registered last.",
        PREDICTION,
    ),
    "changed_days": (
        "Published days of which new events landed in the lake since; copies are none. Days whose"
        " windows see them change too, and are not listed.",
        {
            "source": "The lake table that the new events landed in.",
            "event_date": "The UTC day that they happened on.",
            "rows": "How many of them the lake did not have.",
            "late": "Of these, events that became readable after their day had ended.",
            "landed_at": "When the newest of them landed.",
            "publish_id": "The day's current publish, which was made without them.",
            "published_at": "When that became current.",
        },
    ),
    "window_audits": (
        "The newest audit of each day and topic: the window values that the worker stored, against"
        " those recomputed from the lake. One row for each window of each model. equal, incomplete"
        " and unexplained add up to rows.",
        {
            "event_date": "The UTC day of the events whose rows were audited.",
            "topic": "The Kafka topic that they were read from.",
            "window_name": "The window, as the use case's windows.py names it.",
            "model_version": "The newest approved version of the model that the rows were scored"
            " with.",
            "model_digest": "The sha256 of that model's file, in hexadecimal.",
            "rows": "How many stream rows of that model were audited.",
            "equal": "Rows whose stored value is the recomputed one, in every bit.",
            "incomplete": "Rows that differ because the worker lacked state, and said so: the value"
            " is right for the state that it had.",
            "unexplained": "Rows that differ for no known reason. There should be none.",
            "late_changed": "Rows whose value would be another if events that came too late had"
            " counted.",
            "largest_difference": "The largest gap between a stored and a recomputed value that"
            " are not equal; null if there is none.",
            "examples": "A few rows of each kind: the event, the stored and the recomputed value.",
            "late_events": "State events of the day that came too late to count, for all windows.",
            "missing": "Stream rows of the day whose event is not in the lake, for all windows.",
            "run_id": "The run that audited.",
            "audit_id": "The audit's number: a later audit has a higher one.",
            "audited_at": "When the audit was written.",
        },
    ),
    "conflicting_copies": (
        "Events of published days that were sent more than once with other contents. Batch scored"
        " the first copy; the stream may have scored another.",
        {
            "event_date": "The UTC day of event_time.",
            "event_id": "The event's id, as its producer sent it.",
            "event_time": "When the event happened. Id and time together name one event.",
            "copies": "Where each copy lies on Kafka, as [partition, offset], the one that batch"
            " scored first; null for a copy that was loaded.",
            "fields": "The fields in which the copies differ.",
            "publish_id": "The day's current publish, whose input they were found in.",
        },
    ),
}


def upgrade() -> None:
    execute = op.get_bind().exec_driver_sql
    for view, (about, columns) in VIEWS.items():
        execute(f"COMMENT ON VIEW {view} IS {_literal(about)}")
        for column, said in columns.items():
            execute(f"COMMENT ON COLUMN {view}.{column} IS {_literal(said)}")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"


def downgrade() -> None:
    raise NotImplementedError("comments change nothing: there is nothing to undo")
