"""The streaming worker: live events in, scored events out, each row written once."""
