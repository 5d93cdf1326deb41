"""fusion-report."""
