"""The metrics, one module each; ``fusion_eval.registry`` finds them by name."""
