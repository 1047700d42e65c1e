"""Postgres: the warehouse's server, with a login for each role."""
