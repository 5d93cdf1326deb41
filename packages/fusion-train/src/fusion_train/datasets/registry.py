"""The recipes by name; a new dataset is one file and one line here, or an entry point of another package."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusion_core.errors import ConfigError
from fusion_core.registry import LazyRegistry
from fusion_eval.schemas.base import first_problem
from pydantic import BaseModel, ValidationError

from fusion_train.datasets.base import DatasetRecipe, PreparedDataset, json_sha256

DATASETS = LazyRegistry(
    "dataset",
    "fusion.datasets",
    {
        "av-captions": "fusion_train.datasets.av_captions:AvCaptionsRecipe",
        "avqa": "fusion_train.datasets.avqa:AvqaRecipe",
        "av-scenes": "fusion_train.datasets.av_scenes.recipe:AvScenesRecipe",
        "scenes": "fusion_train.datasets.scenes.recipe:ScenesRecipe",
        "folder": "fusion_train.datasets.folder:FolderRecipe",
        "llava-probe": "fusion_train.datasets.llava_probe:LlavaProbeRecipe",
        "visual-questions": "fusion_train.datasets.visual_questions:VisualQuestionsRecipe",
        "audiocaps": "fusion_train.datasets.audiocaps:AudioCapsRecipe",
        "clotho": "fusion_train.datasets.clotho:ClothoRecipe",
    },
)


def dataset_names() -> list[str]:
    """Return the names of all datasets that can be prepared."""
    return DATASETS.names()


def load_recipe(name: str) -> DatasetRecipe[Any]:
    """Import and return the recipe of a dataset.

    Raises:
        ConfigError: no dataset has this name; the sentence offers the nearest one.
        MissingAssetError: another package's recipe does not import.
    """
    recipe: DatasetRecipe[Any] = DATASETS.load(name)()
    return recipe


def parse_options(dataset: str, values: Mapping[str, Any]) -> BaseModel:
    """Return the checked options of a dataset; values that are None are left at their defaults.

    Raises:
        ConfigError: the dataset does not use one of the options, or a value is out of range.
    """
    options_type = load_recipe(dataset).options_type
    given = {name: value for name, value in values.items() if value is not None}
    known = list(options_type.model_fields)
    for name in given:
        if name not in known:
            raise ConfigError(f"Dataset '{dataset}' has no option '{name}'; {_suggestion(name, known, 'options')}.")
    try:
        options: BaseModel = options_type.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"Dataset '{dataset}', {first_problem(error)}") from error
    return options


def default_root(dataset: str, options: BaseModel | None = None) -> Path:
    """Return where a dataset is prepared unless told otherwise.

    ``data/<dataset>`` for the default options; others go to ``data/<dataset>-<first 8 digits of the options' hash>``.
    """
    recipe = load_recipe(dataset)
    if options is not None:
        digest = json_sha256(recipe.identity(options))
        if digest != _default_digest(recipe):
            return Path("data") / f"{dataset}-{digest[:8]}"
    return Path("data") / dataset


def prepare_dataset(dataset: str, options: BaseModel | None = None, root: Path | None = None) -> PreparedDataset:
    """Make a dataset, or return at once where it lies finished; ``root`` and ``options`` have defaults.

    Raises:
        ConfigError: the options contradict each other or what lies in ``root``.
        DataError: the recipe's own data are missing or malformed.
    """
    recipe = load_recipe(dataset)
    options = options if options is not None else recipe.options_type()
    return recipe.prepare(root if root is not None else default_root(dataset, options), options)


def _default_digest(recipe: DatasetRecipe[Any]) -> str | None:
    """Return the options' hash of the defaults; None for a dataset that cannot be made without options."""
    try:
        return json_sha256(recipe.identity(recipe.options_type()))
    except (ValidationError, ConfigError):
        return None


def _suggestion(name: str, known: list[str], kind: str) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known)
    return f"did you mean '{nearest[0]}'? The {kind} are {listed}" if nearest else f"the {kind} are {listed}"
