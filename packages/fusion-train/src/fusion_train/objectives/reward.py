"""The reward of self-critical training: the very CIDEr-D that scores the results, against the training references.

Document frequencies are those of the training references. The end of a caption is a token of its own, in references and in
captions that ended in time, so that captions which stop too early or run on lose.
"""

from __future__ import annotations

from collections.abc import Sequence

from fusion_eval.metrics.cider_d import CiderD
from fusion_eval.ngrams import Floats
from fusion_eval.tokenize import tokenize_all

END = "<end>"


class CaptionReward:
    """CIDEr-D of captions of the training clips.

    Args:
        references: the captions of each clip.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._metric = CiderD([[[*tokens, END] for tokens in tokenize_all(captions)] for captions in references])

    def __call__(self, captions: Sequence[str], ended: Sequence[bool], clips: Sequence[int]) -> Floats:
        """Return the reward of each caption.

        Args:
            captions: texts.
            ended: whether each ended in time.
            clips: the clip of each, as an index into the references.
        """
        tokens = [
            [*words, END] if end else list(words) for words, end in zip(tokenize_all(captions), ended, strict=True)
        ]
        return self._metric.score(tokens, clips)
