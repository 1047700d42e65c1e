"""Kafka: the factory of every client; what their errors mean, and what they answer, checked.

Imports no client itself: confluent-kafka and kafka-python come with different extras.
"""
