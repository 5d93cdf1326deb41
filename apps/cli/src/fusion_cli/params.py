"""``fusion params``: what every system trains and costs on a backbone, matched to the additive one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fusion_core.backbone import Backbone
    from fusion_core.cost import CallShape, SystemCost


def params(
    backbone: Annotated[
        str, typer.Option(help="smollm2-135m, llava-1.5-7b, llava-1.5-13b (shapes alone), or a folder of transformers.")
    ] = "smollm2-135m",
    system: Annotated[list[str] | None, typer.Option(help="Only this system; repeatable. By default all.")] = None,
    sites: Annotated[
        str | None, typer.Option(help="Sites of the additive system; by default 12,24, or 2/5 and 4/5 of the depth.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Audio tokens K of a clip.")] = 16,
    projector_width: Annotated[int, typer.Option(help="Projector width P.")] = 768,
    encoder_width: Annotated[int, typer.Option(help="Width of the encoder's frames: 512 aiSFX, 768 CLAP.")] = 512,
    prompt: Annotated[int, typer.Option(help="Tokens of the prompt.")] = 32,
    caption: Annotated[int, typer.Option(help="Tokens of the caption.")] = 20,
    beams: Annotated[int, typer.Option(help="Beams of the decoding.")] = 5,
    adapter: Annotated[str, typer.Option(help="Adapter of the additive system: linear or modulated.")] = "modulated",
    hears: Annotated[
        str, typer.Option(help="answer: the prompt is read once for all clips and not counted; all: with each clip.")
    ] = "answer",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, with the uncounted operations.")
    ] = False,
) -> None:
    """Count trainable parameters and FLOPs of every system on a backbone, matched in size to the additive one.

    FLOPs are those of one clip, 2 a multiply-add, features computed beforehand: a forward pass over prompt and caption, a
    training step (also with what lies below the lowest site at hand), and decoding a caption. Nothing is computed: models
    without weights here, such as LLaVA-1.5, are counted by their shapes.

    Examples:

        fusion params

        fusion params --backbone llava-1.5-7b --encoder-width 768
    """
    from fusion_core.cost import CallShape, bare_cost, system_cost
    from fusion_core.outlines import outline
    from fusion_core.progress import track
    from fusion_core.systems import SYSTEMS
    from fusion_core.systems.additive import Additive, AdditiveConfig

    heard = hears == "all"
    shape = CallShape(prompt=prompt, caption=caption, encoder_width=encoder_width, beams=beams, heard=heard)
    model = outline(backbone)
    reference = AdditiveConfig(
        **Additive.backbone_options(model),
        encoder_width=encoder_width,
        sites=_sites(sites, model.depth),
        tokens=tokens,
        projector_width=projector_width,
        adapter=adapter,  # type: ignore[arg-type]
        hears=hears,  # type: ignore[arg-type]
    )
    names = system or SYSTEMS.names()
    costs = [bare_cost(model, shape)]
    costs += [system_cost(name, model, reference, shape) for name in track(names, "count")]
    _show(model, costs, shape, as_json)


def _sites(given: str | None, depth: int) -> tuple[int, ...]:
    """Return the sites named, or the usual ones of a backbone of that depth."""
    from fusion_core.errors import ConfigError

    if given is None:
        return (12, 24) if depth > 24 else tuple(sorted({round(0.4 * depth), round(0.8 * depth)}))
    try:
        return tuple(int(site) for site in given.split(","))
    except ValueError:
        raise ConfigError(f"--sites {given}: write block numbers with commas between, such as 12,24.") from None


def _show(backbone: Backbone, costs: list[SystemCost], shape: CallShape, as_json: bool) -> None:
    """Print the costs as a table or as JSON."""
    import dataclasses

    from rich.table import Table

    from fusion_cli.console import print_json, stderr, stdout

    frozen = sum(parameter.numel() for parameter in backbone.model.parameters())
    if as_json:
        rows: list[dict[str, Any]] = [{**dataclasses.asdict(cost), "total": cost.total} for cost in costs]
        print_json(
            {
                "backbone": backbone.identity.name,
                "frozen_parameters": frozen,
                "shape": dataclasses.asdict(shape),
                "systems": rows,
            }
        )
        return
    title = f"{backbone.identity.name}: {frozen / 1e6:,.1f} M frozen parameters; GFLOP of a clip, × the backbone alone"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("system", no_wrap=True)
    for column in ("trainable", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("forward", "step", "prefixed", "caption"):  # where it is narrow, the factor goes under the count
        table.add_column(column, justify="right")
    bare = costs[0]
    for cost in costs:
        sized = (f"{cost.total:,}", f"{cost.ratio:.2f}") if cost.name else ("", "")
        pairs = (
            (cost.forward, bare.forward),
            (cost.step, bare.step),
            (cost.cached_step, bare.step),
            (cost.generate, bare.generate),
        )
        flops = [f"{count / 1e9:,.1f} ×{count / of:.2f}" for count, of in pairs]
        table.add_row(cost.name or "backbone alone", *sized, *flops)
    stdout.print(table)
    for cost in costs[1:]:
        parts = ", ".join(f"{part} {count:,}" for part, count in cost.parameters.items())
        stdout.print(f"  {cost.name}: {parts}", highlight=False, soft_wrap=True)
    stderr.print(
        f"A clip: {shape.prompt} tokens of prompt, {shape.caption} of caption, {shape.frames} frames, beam {shape.beams}. "
        "The step of the backbone alone is a forward pass, as nothing trains; a prefixed step starts at the lowest site."
        + ("" if shape.heard else " The prompt but its last token is read once for all clips and left out."),
        soft_wrap=True,
    )
    unknown = sorted({name for cost in costs for name in cost.unknown})
    stderr.print(f"Counted as 0: {', '.join(unknown)}.", soft_wrap=True)
