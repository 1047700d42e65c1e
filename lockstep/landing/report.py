"""What a landing run did, for people and for programs."""

from __future__ import annotations

from typing import Any

from lockstep.landing.run import LandedTopic, Landing

__all__ = ["as_document", "render"]

_MOST_DAYS = 10


def render(use_case: str, landing: Landing) -> str:
    """A line for each topic, each kind of refusal and each day to score again."""
    lines = []
    for topic in landing.topics:
        lines.append(_landed(topic))
        for reason, (rows, example) in topic.refused.items():
            lines.append(f"  refused {rows:,}: {reason} (e.g. {example})")
        if topic.refused:
            lines.append("  refused records are the worker's to answer: lockstep dlq list")
    for changed in landing.changed:
        lines.append(
            f"{changed.source} of {changed.event_date} changed after it was published"
            f" ({changed.rows:,} new events, {changed.late:,} of them late):"
            f" lockstep score {use_case} --partition {changed.event_date}"
        )
    return "\n".join(lines)


def as_document(use_case: str, landing: Landing) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "use_case": use_case,
        "topics": [
            {
                "topic": topic.topic,
                "source": topic.source,
                "rows": topic.rows,
                "new": topic.fresh,
                "late": topic.late,
                "days": {
                    day.isoformat(): {"rows": rows, "late": late}
                    for day, (rows, late) in sorted(topic.days.items())
                },
                "refused": {
                    reason: {"rows": rows, "example": example}
                    for reason, (rows, example) in topic.refused.items()
                },
            }
            for topic in landing.topics
        ],
        "changed": [
            {
                "source": changed.source,
                "day": changed.event_date.isoformat(),
                "rows": changed.rows,
                "late": changed.late,
            }
            for changed in landing.changed
        ],
    }


def _landed(topic: LandedTopic) -> str:
    if not topic.rows:
        return f"{topic.topic}: nothing new for {topic.source}"
    days = sorted(topic.days)
    shown = ", ".join(map(str, days)) if len(days) <= _MOST_DAYS else f"{days[0]} to {days[-1]}"
    copies = topic.rows - topic.fresh
    told = f" {copies:,} of them copies of events that are there," if copies else ""
    return (
        f"{topic.topic}: {topic.rows:,} rows landed in {topic.source},{told}"
        f" {topic.late:,} of them late;"
        f" {len(days)} {'date' if len(days) == 1 else 'dates'}: {shown}"
    )
