"""The draft of a paper's methods section: the protocol of the additive system's run, then what the study compares and how.

Each sentence is followed by a comment with the file that its numbers stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fusion_eval.errors import DataError

from fusion_report.methods import methods_sections, modality_sentences, training_sentences
from fusion_report.prose import Number, Paragraph
from fusion_report.results import CARD_FILE, Run
from fusion_report.study import Study, cards_of
from fusion_report.tables.captions import HOW, PAIRED
from fusion_report.tables.video import video_groups

TITLE = "Methods"
_PLACES = {"Metrics": "scores/audio.json"}  # of the sections whose numbers do not stand in the run card

Protocol = Callable[[str], Sequence[str]]


def method_sections(study: Study, audio_protocol: Protocol) -> dict[str, list[Paragraph]]:
    """Return the section by heading.

    Args:
        study: the study.
        audio_protocol: given an encoder's name, sentences on how it hears a clip.
    """
    run = _described(study)
    sections: dict[str, list[Paragraph]] = {"Study": _study(study)}
    if run is None:
        sections["Protocol"] = [["No additive run of the study has a run card, so there is no protocol to state."]]
    else:
        for title, sentences in methods_sections(run.folder, audio_protocol).items():
            place = run.place(_PLACES.get(title, "run_card.json"))
            sections[title] = [_spaced(Number(sentence, (place,)) for sentence in sentences)]
    sections["Systems"] = _systems(study)
    watching = _watching(study)
    if watching:
        sections["The second modality"] = watching
    sections["Statistics"] = [[HOW.format(resamples=study.measuring.resamples)], [PAIRED]]
    return sections


def _spaced(sentences: Iterable[Number]) -> Paragraph:
    """Return sentences with spaces between."""
    return [part for sentence in sentences for part in (sentence, " ")][:-1]


def _described(study: Study) -> Run | None:
    """Return the run whose protocol is told: the first seed of the additive system that left a run card."""
    reference = study.reference()
    for run in reference.runs if reference is not None else ():
        try:
            if run.card is not None:
                return run
        except DataError:
            continue
    return None


def _study(study: Study) -> list[Paragraph]:
    card = study.results.card
    done = sum(run.entry.status == "done" for run in study.results.runs)
    return [
        [
            Number(
                f"The study {card.name} of the {card.tier} tier has {len(card.runs)} runs, of which {done} are"
                " done, with the seeds"
                f" {', '.join(map(str, card.seeds))}.",
                (CARD_FILE,),
            )
        ],
        *(
            [
                Number(
                    f"Rule {one.rule}: {'triggered' if one.triggered else 'not triggered'}. {one.outcome}", (CARD_FILE,)
                )
            ]
            for one in card.decisions
        ),
    ]


def _watching(study: Study) -> list[Paragraph]:
    """Return a paragraph for the first seed of each group that was taught to watch."""
    paragraphs: list[Paragraph] = []
    for group in video_groups(study):
        cards = [(place, card) for place, card in cards_of(group) if card.modalities]
        if cards:
            place, card = cards[0]
            told = (
                f"{group.label} on {card.dataset.name}, seed {card.seed}, everything else as in the protocol above.",
                *modality_sentences(card),
                *training_sentences(card),
            )
            paragraphs.append(_spaced(Number(sentence, (place,)) for sentence in told))
    return paragraphs


def _systems(study: Study) -> list[Paragraph]:
    """Return a sentence a system on its size and where it hears."""
    paragraphs: list[Paragraph] = []
    for group in study.main(study.dataset):
        cards = cards_of(group)
        if group.stage != "xe" or not cards:
            continue
        place, card = cards[0]
        ratio = card.parameters.ratio_to_reference
        sites = card.system.sites
        said = [f"{group.label}: {card.parameters.total:,} trainable parameters"]
        if ratio is not None:
            said.append(f"{ratio:.2f} times those of the additive system")
        if sites:
            said.append(f"sites {', '.join(map(str, sites))}")
        paragraphs.append([Number(", ".join(said) + ".", (place,))])
    return paragraphs or [["No system has been trained."]]
