"""Another name of ``fusion_eval.scoring``."""

from fusion_eval.scoring import score

__all__ = ["score"]
