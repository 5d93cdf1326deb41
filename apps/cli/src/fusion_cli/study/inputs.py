"""The options that the commands of ``fusion study`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyFile = Annotated[Path, typer.Argument(help="The study, such as configs/studies/tiny.yaml.")]
WorkFolder = Annotated[
    Path | None, typer.Option("--work", help="Where runs, weights and logs lie; runs/STUDY if not given.")
]
ResultsFolder = Annotated[
    Path | None, typer.Option("--results", help="Where the small results are kept; results/STUDY if not given.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
