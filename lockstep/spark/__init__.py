"""Spark: a session for one piece of work, and what its errors mean.

Imports no Spark itself: it comes with the extra `batch`.
"""
