"""The warehouse: one Postgres schema for each use case.

connect     who connects, as which role, and how a lost connection is told
tables      what a schema holds
migrate     brings a schema up to date (Alembic; the scripts are in migrations/)
partitions  a day's partition, made without making a reader wait
staging     an attempt at a day: its number, its own table, what it holds
publish     makes an attempt's rows visible: three commits, of which readers see the last
"""
