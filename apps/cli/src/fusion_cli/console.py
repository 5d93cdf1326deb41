"""Where the commands print: results on the output stream, progress and notes on the error stream."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print a value as JSON on the output stream, keys in their order, without colours or wrapping."""
    stdout.out(json.dumps(value, ensure_ascii=False, indent=2))


def notify(sentence: str) -> None:
    """Print a note on the error stream, as it is."""
    stderr.print(sentence, markup=False, soft_wrap=True)
