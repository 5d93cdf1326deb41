"""METEOR 1.5: words aligned by form, stem, synonym and paraphrase, and a penalty for every break in their order.

Denkowski and Lavie, "Meteor Universal: Language Specific Translation Evaluation for Any Target Language", WMT 2014. The
alignment is the published tool's, run as coco-caption runs it (``-l en -norm``); of a clip's references the best one
counts. With weights w_i of the stages, m_i matched content and n_i matched function words of each side, lengths l and
function words f of each side, the number of chunks ch and of matched words mw over both sides:

    P, R = Σ_i w_i (δ m_i + (1 - δ) n_i) / (δ (l - f) + (1 - δ) f)    of the caption, of the reference
    METEOR = P R / (α P + (1 - α) R) · (1 - γ (2 ch / mw)^β)

where a caption that is wholly matched in one chunk has no penalty. The corpus value is this formula of the sums over
the clips, with ch = 0 for those captions; it is not the mean of the clips.

Legend: C clips, F the 23 columns that the tool gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import TracebackType
from typing import Self

import numpy as np

from fusion_eval.errors import DataError, MissingAssetError
from fusion_eval.java.lines import LineProcess, ToolError
from fusion_eval.java.runtime import find_java, machine_memory
from fusion_eval.metrics.base import Metric, MetricValues, ScoredClips, SufficientStatistics
from fusion_eval.ngrams import Floats, Tokens
from fusion_eval.provision import require
from fusion_eval.tokenize import tokenize_all

VERSION = "1.5"
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = {"exact": 1.0, "stem": 0.6, "synonym": 0.8, "paraphrase": 0.6}
SIDES = ("test_content", "reference_content", "test_function", "reference_function")
COLUMNS = (
    "test_length",
    "reference_length",
    "test_function_words",
    "reference_function_words",
    *(f"{side}_{stage}" for stage in STAGES for side in SIDES),
    "chunks",
    "test_matches",
    "reference_matches",
)
_CHUNKS = COLUMNS.index("chunks")
_WEIGHTS = np.array(list(STAGES.values()))

# Longer captions are no captions; the tool's time grows faster than their length.
LONGEST = 300  # words
_HEAP = 2048  # MiB
_SHOWN = 40


class Meteor:
    """METEOR by warm processes of the published tool, which take some seconds to start and then stay.

    As a context manager it ends them; else they end with Python, or when they have been idle for minutes.

    Args:
        processes: processes to share the clips among; each takes about 0.6 GB.

    Raises:
        MissingAssetError: Java, the tool or its table of paraphrases is not installed.
    """

    def __init__(self, processes: int = 1) -> None:
        jar, _ = require("meteor")
        self.java = find_java()
        memory = min(_HEAP, machine_memory() * 3 // 4)
        command = self.java.command(memory, "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm", threads=1)
        self._pool = [LineProcess(command, greeting="SCORE ||| a ||| a") for _ in range(processes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The running processes."""
        return [process.pid for process in self._pool if process.pid is not None]

    def close(self) -> None:
        """End the processes; they start again when they are needed."""
        for process in self._pool:
            process.close()

    def statistics(
        self,
        captions: Sequence[Tokens],
        references: Sequence[Sequence[Tokens]],
        answered: Callable[[int], object] | None = None,
    ) -> Floats:
        """Return what METEOR is computed from, one row a clip, with no chunk where a caption is matched in one.

        Args:
            captions: the tokens of each clip's caption.
            references: the tokens of each clip's references.
            answered: is told how many clips of a process are done.

        Raises:
            DataError: a clip has no references, is too long, or the tool fails at it.
            MissingAssetError: the tool does not start.
        """
        lines = [_question(*clip) for clip in zip(range(len(captions)), captions, references, strict=True)]
        parts = [lines[start :: len(self._pool)] for start in range(len(self._pool))]
        values_CF = np.zeros((len(lines), len(COLUMNS)))
        with ThreadPoolExecutor(len(self._pool)) as threads:
            running = [
                threads.submit(process.ask, part, answered) for process, part in zip(self._pool, parts, strict=True)
            ]
            for start, future in enumerate(running):
                clips = range(start, len(lines), len(self._pool))
                try:
                    answers = future.result()
                except ToolError as failure:
                    if failure.index is None:
                        raise MissingAssetError(
                            f"METEOR {failure.reason}; see that there is memory for it."
                        ) from failure
                    raise _refusal(clips[failure.index], captions, f"METEOR {failure.reason} at it") from failure
                for clip, answer in zip(clips, answers, strict=True):
                    values_CF[clip] = _numbers(clip, captions, answer)
        matched_C = values_CF[:, 4:_CHUNKS].reshape(-1, len(STAGES), 2, 2).sum(axis=(1, 2))
        perfect_C = (matched_C == values_CF[:, :2]).all(axis=1) & (values_CF[:, _CHUNKS] == 1)
        values_CF[perfect_C, _CHUNKS] = 0
        return values_CF


def meteor_of_sums(sums_F: Floats) -> Floats:
    """Return METEOR of summed statistics of shape (…, F)."""
    values = np.asarray(sums_F, dtype=np.float64)
    matched = values[..., 4:_CHUNKS].reshape(*values.shape[:-1], len(STAGES), 2, 2)
    lengths, functions = values[..., :2], values[..., 2:4]
    weighted = np.einsum("...skt,s,k->...t", matched, _WEIGHTS, np.array([DELTA, 1 - DELTA]))
    matches = (values[..., _CHUNKS + 1] + values[..., _CHUNKS + 2]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = weighted / (DELTA * (lengths - functions) + (1 - DELTA) * functions)
        mean = 1 / ((1 - ALPHA) / share[..., 0] + ALPHA / share[..., 1])
        broken = values[..., _CHUNKS] / matches
        score = mean * (1 - GAMMA * broken**BETA)
    found: Floats = np.maximum(np.nan_to_num(score, nan=0.0), 0.0)
    return found


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Return the METEOR of a corpus and of each of its clips, from captions as people write them.

    The tool stays warm for the next call.

    Raises:
        MissingAssetError: Java or the tool is not installed.
        DataError: there are no captions, a clip has no references, or the tool fails at a clip.
    """
    if not captions:
        raise DataError("There are no captions; give at least one.")
    tokens = [tokenize_all(texts) for texts in references]
    values_CF = shared_meteor().statistics(tokenize_all(captions), tokens)
    return float(meteor_of_sums(values_CF.sum(axis=0))), meteor_of_sums(values_CF).tolist()


@lru_cache(maxsize=1)
def shared_meteor() -> Meteor:
    """Return the tool that this Python process shares; it stays warm between calls."""
    return Meteor()


def _question(clip: int, caption: Tokens, references: Sequence[Tokens]) -> str:
    """Return the tool's question about a clip.

    Raises:
        DataError: the clip has no references, or a text is too long.
    """
    if not references:
        raise DataError(f"Clip {clip} has no references; give it at least one.")
    longest = max(len(tokens) for tokens in (caption, *references))
    if longest > LONGEST:
        raise DataError(f"Clip {clip} has a text of {longest} words, and METEOR takes {LONGEST} at most; shorten it.")
    return " ||| ".join(("SCORE", *(" ".join(tokens) for tokens in references), " ".join(caption)))


def _numbers(clip: int, captions: Sequence[Tokens], answer: str) -> list[float]:
    try:
        numbers = [float(number) for number in answer.split()]
    except ValueError:
        numbers = []
    if len(numbers) != len(COLUMNS):
        raise _refusal(clip, captions, f"METEOR answered '{answer[:_SHOWN]}' to it")
    return numbers


def _refusal(clip: int, captions: Sequence[Tokens], reason: str) -> DataError:
    caption = " ".join(captions[clip])
    shown = caption if len(caption) <= _SHOWN else f"{caption[:_SHOWN]}…"
    return DataError(f"Clip {clip} with the caption '{shown}' cannot be scored: {reason}; correct its texts.")


def _corpus_of_sums(sums_F: Floats) -> dict[str, Floats]:
    return {"meteor": meteor_of_sums(sums_F)}


def _compute(clips: ScoredClips) -> MetricValues:
    tool, tell = shared_meteor(), clips.resources.telling("meteor")
    values_CF = tool.statistics(
        clips.caption_tokens, clips.reference_tokens, lambda done: tell(done, len(clips.captions))
    )
    statistics = SufficientStatistics(COLUMNS, values_CF, _corpus_of_sums)
    return MetricValues(
        corpus={"meteor": float(meteor_of_sums(values_CF.sum(axis=0)))},
        denominator={"meteor": len(values_CF)},
        per_clip={"meteor": meteor_of_sums(values_CF).tolist()},
        definition={
            "meteor": {
                "alpha": ALPHA,
                "beta": BETA,
                "gamma": GAMMA,
                "delta": DELTA,
                "stages": dict(STAGES),
                "corpus": "of summed statistics",
                "over": "clips",
            }
        },
        tools={"meteor": VERSION, "java": tool.java.version},
        statistics=statistics,
    )


METRIC = Metric(
    "meteor", "words aligned by form, stem, synonym and paraphrase (METEOR 1.5)", _compute, of_sums=_corpus_of_sums
)
