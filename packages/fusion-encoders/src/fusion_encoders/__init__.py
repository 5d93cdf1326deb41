"""fusion-encoders."""
