"""Time one tool's metrics in a process of its own: ``python -O -m fusion_cli.bench.timing NAME`` with captions on stdin.

Each tool does its best: what can be kept between calls is made before the clock starts. Tokens are of our tokeniser for
all, so that a stage's time is that stage's alone. ``-O`` leaves out aac-metrics' refusal of the Java that is here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.metadata import distribution, version
from itertools import chain
from math import log
from pathlib import Path
from typing import Any

Values = dict[str, list[float]]
Stage = Callable[[], Values]
TOOLS = ("fusion-eval", "aac-metrics", "pycocoevalcap")
NATIVE = ("tokenise", "cider_d", "bleu", "rouge_l")

_REPEATS = 50
_BUDGET = 4.0  # seconds after which a stage is not repeated again


class Tool(ABC):
    """One tool's stages, each a function without arguments that returns what it computed, by name and clip."""

    def __init__(self, data: dict[str, Any]) -> None:
        from fusion_eval.tokenize import tokenize_all

        self.captions: list[str] = data["captions"]
        self.references: list[list[str]] = data["references"]
        self.clips: list[int] = data["clips"]
        self.caption_tokens = tokenize_all(self.captions)
        self.reference_tokens = [tokenize_all(texts) for texts in self.references]
        self.train_tokens = [tokenize_all(texts) for texts in data["train"]]
        self.sample_tokens = tokenize_all(data["samples"])

    @cached_property
    @abstractmethod
    def stages(self) -> dict[str, Stage]:
        """The stages by name; those that have something to prepare have done it."""

    def together(self, names: Sequence[str]) -> None:
        """Compute some of the stages one after the other, as a user would."""
        for name in names:
            self.stages[name]()


class FusionEval(Tool):
    """Ours."""

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Our stages."""
        from fusion_eval.metrics.bleu import bleu_of_sums, bleu_statistics
        from fusion_eval.metrics.cider_d import CiderD
        from fusion_eval.metrics.meteor import meteor_of_sums, shared_meteor
        from fusion_eval.metrics.rouge_l import rouge_l_of_tokens

        captions, references = self.caption_tokens, self.reference_tokens

        def bleu() -> Values:
            return {
                name: column.tolist() for name, column in bleu_of_sums(bleu_statistics(captions, references)).items()
            }

        return {
            "tokenise": self._tokenise,
            "cider_d": lambda: {"cider_d": CiderD(references).score(captions).tolist()},
            "bleu": bleu,
            "rouge_l": lambda: {"rouge_l": rouge_l_of_tokens(captions, references)},
            "meteor": lambda: {"meteor": meteor_of_sums(shared_meteor().statistics(captions, references)).tolist()},
            "reward": self._reward(),
        }

    def together(self, names: Sequence[str]) -> None:
        """Score files as the command does, without anything remembered."""
        from fusion_eval.schemas import Predictions, References
        from fusion_eval.scoring import score
        from fusion_eval.tokenize import forget_words

        forget_words()
        ids = [str(number) for number in range(len(self.captions))]
        origin = {"dataset": "bench", "split": "test"}
        items = [{"id": name, "caption": text} for name, text in zip(ids, self.captions, strict=True)]
        truth = [{"id": name, "references": texts} for name, texts in zip(ids, self.references, strict=True)]
        predictions = Predictions.model_validate({**origin, "system": "bench", "items": items})
        metrics = ["bleu_4" if name == "bleu" else name for name in names if name != "tokenise"]
        found = score(predictions, References.model_validate({**origin, "items": truth}), metrics)
        if found.unavailable:
            raise RuntimeError("; ".join(found.unavailable.values()))

    def _tokenise(self) -> Values:
        from fusion_eval.tokenize import forget_words, tokenize_all

        forget_words()
        tokenize_all(self.captions)
        for texts in self.references:
            tokenize_all(texts)
        return {}

    def _reward(self) -> Stage:
        from fusion_eval.metrics.cider_d import CiderD

        scorer = CiderD(self.train_tokens)
        return lambda: {"reward": scorer.score(self.sample_tokens, self.clips).tolist()}


class AacMetrics(Tool):
    """aac-metrics, whose files come from the pycocoevalcap package instead of its own download."""

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """The stages of aac-metrics, whose values leave torch as lists."""
        functional = import_module("aac_metrics.functional")
        captions = [" ".join(tokens) for tokens in self.caption_tokens]
        references = [[" ".join(tokens) for tokens in texts] for texts in self.reference_tokens]
        self._folder = tempfile.TemporaryDirectory(prefix="fusion-bench-")
        cache = self._folder.name
        _link_java_tools(Path(cache))

        def values(function: Callable[..., Any], names: Sequence[str], **options: Any) -> Values:
            _, per_clip = function(captions, references, **options)
            return {name: per_clip[name].tolist() for name in names}

        def bleu() -> Values:
            _, per_clip = functional.bleu(captions, references, return_1_to_n=True)
            return {f"bleu_{order}": row.tolist() for order, row in enumerate(per_clip["bleu_1_to_4"], start=1)}

        return {
            "tokenise": lambda: self._tokenise(cache),
            "cider_d": lambda: values(functional.cider_d, ["cider_d"]),
            "bleu": bleu,
            "rouge_l": lambda: values(functional.rouge_l, ["rouge_l"]),
            "meteor": lambda: values(functional.meteor, ["meteor"], cache_path=cache, java_path="java"),
            "reward": self._reward(captions),
        }

    def _tokenise(self, cache: str) -> Values:
        module = import_module("aac_metrics.utils.tokenization")
        options = {"cache_path": cache, "java_path": "java", "tmp_path": tempfile.gettempdir()}
        module.preprocess_mono_sents(self.captions, **options)
        module.preprocess_mult_sents(self.references, **options)
        return {}

    def _reward(self, captions: Sequence[str]) -> Stage:
        """Return the reward by the parts of its CIDEr-D, which by itself counts the n-grams of the corpus in each call."""
        module = import_module("aac_metrics.functional.cider_d")
        cook, compute = vars(module)["__cook_sentence"], vars(module)["__compute_cider"]
        samples = [" ".join(tokens) for tokens in self.sample_tokens]
        truth = [[" ".join(tokens) for tokens in self.train_tokens[clip]] for clip in self.clips]
        frequency, clips = _document_frequency(self.train_tokens), log(len(self.train_tokens))

        def reward() -> Values:
            cooked = [cook(text, 4, str.split) for text in samples]
            cooked_references = [[cook(text, 4, str.split) for text in texts] for texts in truth]
            scores, _ = compute(cooked, cooked_references, frequency, clips, 4, 6.0, scale=10.0)
            return {"reward": scores.tolist()}

        return reward


class PycocoEvalcap(Tool):
    """pycocoevalcap."""

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """The stages of pycocoevalcap."""
        load = import_module
        ids = range(len(self.captions))
        captions = {clip: [" ".join(self.caption_tokens[clip])] for clip in ids}
        references = {clip: [" ".join(tokens) for tokens in self.reference_tokens[clip]] for clip in ids}
        bleu = load("pycocoevalcap.bleu.bleu").Bleu(4)
        rouge, cider = load("pycocoevalcap.rouge.rouge").Rouge(), load("pycocoevalcap.cider.cider").Cider()
        meteor: list[Any] = []

        def score_meteor() -> Values:
            if not meteor:
                meteor.append(load("pycocoevalcap.meteor.meteor").Meteor())
            return {"meteor": [float(v) for v in meteor[0].compute_score(references, captions)[1]]}

        def score_bleu() -> Values:
            _, rows = bleu.compute_score(references, captions, verbose=0)
            return {f"bleu_{order}": row for order, row in enumerate(rows, start=1)}

        return {
            "tokenise": self._tokenise,
            "cider_d": lambda: {"cider_d": cider.compute_score(references, captions)[1].tolist()},
            "bleu": score_bleu,
            "rouge_l": lambda: {"rouge_l": rouge.compute_score(references, captions)[1].tolist()},
            "meteor": score_meteor,
            "reward": self._reward(),
        }

    def _tokenise(self) -> Values:
        tokenizer = import_module("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer()
        tokenizer.tokenize({clip: [{"caption": text}] for clip, text in enumerate(self.captions)})
        tokenizer.tokenize({clip: [{"caption": text} for text in texts] for clip, texts in enumerate(self.references)})
        return {}

    def _reward(self) -> Stage:
        """Return the reward with the df set beforehand; its N is that of the batch, which costs the same time."""
        module = import_module("pycocoevalcap.cider.cider_scorer")
        samples = [" ".join(tokens) for tokens in self.sample_tokens]
        truth = [[" ".join(tokens) for tokens in self.train_tokens[clip]] for clip in self.clips]
        frequency = _document_frequency(self.train_tokens)

        def reward() -> Values:
            scorer = module.CiderScorer(n=4, sigma=6.0)
            for sample, texts in zip(samples, truth, strict=True):
                scorer += (sample, texts)
            scorer.document_frequency = frequency
            scorer.compute_cider()
            return {}

        return reward


def _document_frequency(references: Sequence[Sequence[Sequence[str]]]) -> Counter[tuple[str, ...]]:
    """Return in how many clips each n-gram occurs."""

    def grams(tokens: Sequence[str]) -> Iterator[tuple[str, ...]]:
        for order in range(1, 5):
            yield from zip(*(tokens[start:] for start in range(order)), strict=False)

    return Counter(chain.from_iterable({gram for tokens in texts for gram in grams(tokens)} for texts in references))


def _link_java_tools(folder: Path) -> None:
    """Let aac-metrics find the Java tools in a folder, by links into the pycocoevalcap package."""
    package = Path(str(distribution("pycocoevalcap").locate_file("pycocoevalcap")))
    tools = folder / "aac-metrics"
    (tools / "stanford_nlp").mkdir(parents=True)
    jar = "stanford-corenlp-3.4.1.jar"
    (tools / "stanford_nlp" / jar).symlink_to(package / "tokenizer" / jar)
    (tools / "meteor").symlink_to(package / "meteor")


@contextmanager
def _only_json_on_stdout() -> Iterator[None]:
    """Send what the tools print to the error stream."""
    stdout, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = stdout


def _measure(stage: Callable[[], Any]) -> tuple[float, Any]:
    """Return the shortest time of some runs, and what the last returned."""
    best, spent, value = float("inf"), 0.0, None
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        value = stage()
        seconds = time.perf_counter() - begin
        best, spent = min(best, seconds), spent + seconds
        if spent > _BUDGET:
            break
    return best, value


def measure_tool(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of each stage of a tool, and its values; of a stage that fails, why."""
    kinds: dict[str, Callable[[dict[str, Any]], Tool]] = {
        "fusion-eval": FusionEval,
        "aac-metrics": AacMetrics,
        "pycocoevalcap": PycocoEvalcap,
    }
    tool = kinds[name](data)
    seconds: dict[str, float] = {}
    values: Values = {}
    failures: dict[str, str] = {}
    everything = [*NATIVE, "meteor"]
    try:
        begin = time.perf_counter()
        tool.together(everything)
        seconds["all_cold"] = time.perf_counter() - begin
    except Exception as error:  # a tool may fail in any way; the others are timed all the same
        failures["all_cold"] = f"{type(error).__name__}: {error}"
    stages: dict[str, Callable[[], Any]] = {
        "native": lambda: tool.together(NATIVE),
        "all": lambda: tool.together(everything),
        **tool.stages,
    }
    for stage, run in stages.items():
        try:
            seconds[stage], found = _measure(run)
        except Exception as error:
            failures[stage] = f"{type(error).__name__}: {error}"
        else:
            values |= found or {}
    return {"version": version(name), "seconds": seconds, "values": values, "failures": failures}


def main() -> None:
    """Measure the tool that the first argument names, on the captions that stdin holds as JSON."""
    data = json.load(sys.stdin)
    with _only_json_on_stdout():
        found = measure_tool(sys.argv[1], data)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
