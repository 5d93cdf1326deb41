"""fusion-eval."""
