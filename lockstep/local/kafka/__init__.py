"""Kafka: one broker, the jars that it runs from, and the topics of each pipeline.toml."""
