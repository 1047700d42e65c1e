"""Landing: what lies in Kafka, into the lake, by the date of the event.

log      what a topic holds: which topic it is, and from where to where
source   the topic as a streaming source of Spark
tasks    one stretch of a partition: decoded, checked, written by date
run      a whole run, over all topics of a use case

Nothing is imported here: a Spark task imports what it needs, and no more.
"""
