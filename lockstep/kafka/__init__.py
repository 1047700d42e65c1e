"""Kafka: the factory of every client; what errors and answers mean; the topics of a use case.

Imports no client itself: confluent-kafka and kafka-python come with different extras.
"""
