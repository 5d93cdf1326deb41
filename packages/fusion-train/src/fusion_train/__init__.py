"""fusion-train."""
