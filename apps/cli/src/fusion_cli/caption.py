"""``fusion caption``: captions of one's own audio or video files by a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion_cli.console import print_json, stderr

if TYPE_CHECKING:
    from fusion_train.captioner import CaptionCandidate


def caption(
    files: Annotated[list[Path], typer.Argument(help="Audio files (wav, flac, ogg, mp3, …), or videos (mp4, …).")],
    checkpoint: Annotated[Path, typer.Option("--ckpt", help="The run directory that fusion train wrote.")],
    beams: Annotated[int | None, typer.Option("--beams", min=1, help="Beams; the run's own if not given.")] = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Print every beam with its log-probability.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print captions and candidates as JSON.")] = False,
) -> None:
    """Say what is heard in audio files, or seen and heard in videos: one caption a line, in the order of the files.

    With several files each line begins with the file's name. A file that cannot be used is named on the error stream with the
    reason, the rest goes on, and the exit code is 3.

    Example:

        fusion caption dog.wav rain.flac --ckpt runs/scenes-additive-20260101-120000
    """
    from fusion_encoders.faults import MediaFault
    from fusion_train.model import load_run

    model = load_run(checkpoint)
    frames, faults = {}, {}
    for path in files:
        try:
            frames[path] = model.read(path)
        except MediaFault as fault:
            faults[path] = fault.reason
    settings = model.decoding if beams is None else model.decoding.model_copy(update={"beams": beams})
    captions: dict[Path, list[CaptionCandidate]] = {}
    for start in range(0, len(frames), settings.batch):
        part = list(frames)[start : start + settings.batch]
        found = model.captioner.caption(model.features([frames[path] for path in part]), settings)
        captions.update(zip(part, found, strict=True))
    if as_json:
        print_json(
            [
                {"file": str(path), "caption": c[0].text, "candidates": [vars(o) for o in c]}
                for path, c in captions.items()
            ]
        )
    else:
        for path, found_here in captions.items():
            name = f"{path}\t" if len(files) > 1 else ""
            print(f"{name}{found_here[0].text}")
            for one in found_here if candidates else ():
                print(f"    {one.logprob:8.2f}  {one.text}")
    for path, reason in faults.items():
        stderr.print(f"{path}: {reason}", soft_wrap=True, markup=False)
    if faults:
        raise typer.Exit(3)
