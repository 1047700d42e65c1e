"""One day of one use case, in five steps that Airflow and `lockstep score` both run.

resolve_model      which digest serves: pinned for the whole run
check_events       whether the lake's day may be scored
score              every event, into a table of this attempt's own
check_predictions  whether that table may be published
publish            readers see it, whole and at once
"""
