"""Prepared datasets: what one is, the recipes that make them, and the check of one on disk."""

from __future__ import annotations

from fusion_train.datasets.base import DatasetCard, DatasetRecipe, PreparedDataset, open_dataset
from fusion_train.datasets.registry import dataset_names, default_root, load_recipe, parse_options, prepare_dataset

__all__ = [
    "DatasetCard",
    "DatasetRecipe",
    "PreparedDataset",
    "dataset_names",
    "default_root",
    "load_recipe",
    "open_dataset",
    "parse_options",
    "prepare_dataset",
]
