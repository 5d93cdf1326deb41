"""Frozen audio encoders, audio decoding and the feature cache."""
