"""One script a benchmark: python -m benchmarks.NAME [--quick] [--json FILE]."""
