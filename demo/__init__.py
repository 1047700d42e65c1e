"""What `make demo` runs: a use case's whole life, in the commands that a user types."""
