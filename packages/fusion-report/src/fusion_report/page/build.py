"""The page itself: its data packed, its parts put together, and a policy that lets nothing run but its own scripts."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from fusion_eval.files import write_atomic

from fusion_report.groups import group_runs as report_groups
from fusion_report.measuring import Measuring
from fusion_report.metric_names import label_of
from fusion_report.page.chart_data import curve_rows, gate_rows, score_rows, stability_rows
from fusion_report.page.charts import javascript_libraries, page_charts
from fusion_report.page.clips import ClipSet, TextBudget, describe_clip, describe_outputs, gather_sets, kinds_of_clips
from fusion_report.page.datasets import PreparedData, open_dataset
from fusion_report.page.media import Media, MediaCollector, Track, block_elements
from fusion_report.page.outputs import STAGES_WITHOUT_CAPTIONS, PageResults, read_outputs
from fusion_report.page.overview import overview
from fusion_report.page.questions import PageQuestions, describe_questions
from fusion_report.page.sound import BANDS, FRAMES, LEVELS
from fusion_report.page.summary import Group, group_runs, metrics_of
from fusion_report.page.tables import (
    controls_table,
    decisions_list,
    results_table,
    retention_table,
    runs_table,
    to_html,
    watching_tables,
)
from fusion_report.page.weight import Limits
from fusion_report.study import Study

# In the order in which they need one another.
SCRIPTS = (
    "elements.js",
    "unpack.js",
    "address.js",
    "theme.js",
    "tables.js",
    "spectrogram.js",
    "player.js",
    "captions.js",
    "selection.js",
    "browser.js",
    "charts.js",
    "page.js",
)
ASSETS = files("fusion_report.page") / "assets"


@dataclass(frozen=True)
class PageSummary:
    """What was written.

    Attributes:
        path: the page.
        bytes: its size.
        clips: clips that can be browsed.
        audible: clips whose sound or video is in the page.
        left_out: a sentence for everything that is not in the page.
    """

    path: str
    bytes: int
    clips: int
    audible: int
    left_out: tuple[str, ...]


def write_page(
    folder: Path,
    out: Path,
    dataset_roots: Sequence[Path] = (),
    limits: Limits | None = None,
    links: bool = True,
    track: Track = iter,
    measuring: Measuring | None = None,
) -> PageSummary:
    """Write the page of a results folder; the same files give the same bytes.

    Args:
        folder: a study, a run directory or a folder of run directories.
        out: the page.
        dataset_roots: prepared datasets, for references, sounds and event graphs.
        limits: how much goes into the page.
        links: whether clips without room are linked to their files.
        track: called with the clips to be decoded, such as a progress bar.
        measuring: gives values and intervals; by default as the tables of ``fusion report all`` have them.

    Raises:
        DataError: the folder holds no results, or a dataset root is none.
        OSError: the page cannot be written; the old one stays.
    """
    limits = limits or Limits()
    results = read_outputs(folder)
    datasets: list[PreparedData] = [open_dataset(root) for root in dataset_roots]
    sets = gather_sets(results, datasets, limits)
    media = MediaCollector(limits.media_bytes, out, links).collect(sets, track)
    budget = TextBudget(limits.text_bytes)
    study = Study(results.results, report_groups(results.results), measuring or Measuring())
    groups = group_runs(results, study.measuring)
    data, problems = _data(results, groups, sets, media, budget)
    left_out = _left_out(sets, media, budget, limits, problems)
    page = _assemble(results, study, groups, data, media, left_out).encode()
    write_atomic(out, page)
    audible = sum("block" in entry for entry in media.entries.values())
    return PageSummary(str(out), len(page), sum(len(one.ids) for one in sets), audible, tuple(left_out))


def _data(
    results: PageResults, groups: Sequence[Group], sets: Sequence[ClipSet], media: Media, budget: TextBudget
) -> tuple[dict[str, Any], list[str]]:
    """Return what the scripts read, and what could not be read for it."""
    curves, problems = curve_rows(results)
    systems = list(dict.fromkeys(group.system for group in groups))
    questions = PageQuestions(results)
    described = [_describe_set(number, one, questions, media, budget) for number, one in enumerate(sets)]
    metrics = {name for one in described for output in one["outputs"] for name in output["scores"]}
    rows = {
        "scores": score_rows(groups, metrics_of(groups), "test"),
        "curves": curves,
        "gates": gate_rows(results),
        "stability": stability_rows(results),
    }
    data = {
        "systems": systems,
        "sets": described,
        "metrics": {name: label_of(name) for name in sorted(metrics)},
        "picture": {"bands": BANDS, "frames": FRAMES, "levels": LEVELS},
        "charts": [asdict(chart) for chart in page_charts(systems, rows["scores"])],
        "rows": rows,
    }
    return data, problems


def _describe_set(
    number: int, one: ClipSet, questions: PageQuestions, media: Media, budget: TextBudget
) -> dict[str, Any]:
    kinds = kinds_of_clips(one)
    asked = questions.asked([run.plan.name for run, _ in one.said], one.dataset, one.split)
    clips = [
        describe_clip(one, clip, kinds)
        | {"media": media.entries[number, clip]}
        | ({"questions": describe_questions(asked[clip])} if clip in asked else {})
        for clip in one.ids
    ]
    outputs = describe_outputs(one, budget)
    for output in outputs if asked else ():
        output["answers"] = questions.answered(output["run"], output["condition"], asked, one.ids)
    return {
        "name": f"{one.dataset} {one.split}",
        "reason": one.known.reason,
        "clips": clips,
        "outputs": outputs,
    }


def _left_out(
    sets: Sequence[ClipSet], media: Media, budget: TextBudget, limits: Limits, problems: Sequence[str]
) -> list[str]:
    """Return a sentence for everything that the page lacks."""
    sentences = [
        f"{one.left_out:,} of {one.left_out + len(one.ids):,} clips of {one.dataset} {one.split}: the page lists at most "
        f"{limits.clips:,}; those that are listed lie evenly over all."
        for one in sets
        if one.left_out
    ]
    sentences += [f"Sound of {count:,} clips. {reason}" for reason, count in sorted(media.reasons.items())]
    sentences += [f"Picture of {count:,} clips. {reason}" for reason, count in sorted(media.pictures_left_out.items())]
    if budget.left_out:
        size = f"more than {limits.text_bytes / 1e6:g} MB of text"
        sentences += [f"{name[:1].upper()}{name[1:]}: {size}." for name in budget.left_out]
    return sentences + [f"Curve of {problem}" for problem in problems]


def _assemble(
    results: PageResults,
    study: Study,
    groups: Sequence[Group],
    data: dict[str, Any],
    media: Media,
    left_out: Sequence[str],
) -> str:
    style = _asset("style.css")
    script = "'use strict';\n(() => {\n" + "\n".join(_asset(name) for name in SCRIPTS) + "\n})();\n"
    libraries = javascript_libraries()
    return Template(_asset("page.html")).substitute(
        title=html.escape(f"{results.name}: results"),
        name=html.escape(results.name),
        policy=_policy([style], [libraries, script]),
        style=style,
        overview=to_html(overview(results, groups)),
        tables=to_html(_tables(results, study, groups)),
        decisions=to_html(decisions_list(results.study)),
        runs=to_html(runs_table(results)),
        left_out="\n".join(f"<li dir=auto>{html.escape(sentence)}</li>" for sentence in left_out)
        or "<li>Nothing: every clip, caption and candidate is here.</li>",
        data=pack(data),
        blocks="".join(block_elements(media)),
        licences=_asset("licences.txt"),
        libraries=libraries,
        script=script,
    )


def _tables(results: PageResults, study: Study, groups: Sequence[Group]) -> list[Any]:
    elements: list[Any] = []
    captioned = [group for group in groups if group.stage not in STAGES_WITHOUT_CAPTIONS]
    for dataset in dict.fromkeys(group.dataset for group in captioned):
        own = [group for group in captioned if group.dataset == dataset]
        metrics = metrics_of(own)
        main = [group for group in own if not group.is_variant]
        varied = [group for group in own if group.is_variant]
        elements += results_table(main or varied, metrics, f"{dataset}, test clips heard as they are")
        elements += results_table(varied, metrics, f"{dataset}, variants") if main and varied else []
        elements += controls_table(main or varied, metrics, dataset)
    return elements + watching_tables(study) + retention_table(results)


def pack(data: Any) -> str:
    """Return data as base64 of gzip of JSON: small, and nothing in it can be taken for markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    packed = gzip.compress(text.encode("utf-8", errors="replace"), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode("ascii")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return the content security policy: these scripts and styles by their hashes, media from the page or beside it."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash_source, scripts))}",
            f"style-src {' '.join(map(_hash_source, styles))}",
            "img-src data: blob:",
            "media-src data: blob: file: 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash_source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
