"""Which model versions there are, and which of them may serve."""
