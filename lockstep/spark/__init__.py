"""Spark: a session for one piece of work, a Java to run it, and what its errors mean.

Imports no Spark itself: it comes with the extra `batch`.
"""
