"""The reference tools that are written in Java: how they are run, kept warm and ended."""
