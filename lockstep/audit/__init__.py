"""The audit of a day: the window values that the stream stored, beside what the lake gives.

request    which day of which topic, and the topics of state events
stored     the stream's rows, with their window values and cuts
recompute  the same windows by Spark from the lake, with and without late events
at_cut     incomplete rows once more, from what had been read when they were scored
verdict    equal, incomplete or unexplained, window by window
report     in words, and as one JSON document
run        all of it, in this order; stored in the warehouse
"""
