"""Everything that knows Dagster. The library is importable and testable without it."""
