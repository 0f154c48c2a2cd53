"""``make bench``: where the time goes, in tables, JSON and docs/performance.md. See ``python -m benchmark --help``."""
