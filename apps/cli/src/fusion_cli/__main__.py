"""``python -m fusion_cli``."""

from __future__ import annotations

from fusion_cli.main import run

if __name__ == "__main__":
    run()
