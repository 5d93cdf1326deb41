"""fusion-core."""
