"""Data only: low-rank adapters on the backbone, trained on the same captions, without an audio path. The blind floor.

Hu et al., «LoRA: Low-Rank Adaptation of Large Language Models», ICLR 2022, in peft's implementation:

    y = W x + (s)·B A x ,   A: in -> r,   B: r -> out, 0 at the start, hence the untouched backbone

on the linear layers of every decoder block. It learns how captions of the dataset sound and hears nothing: what another system
has above it is owed to hearing.

The weights are this system's own and are lent to peft's layers while it is attached. Besides fusion's own files it is saved in
peft's format, for ``PeftModel.from_pretrained``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from fusion_core.backbone import Backbone
from fusion_core.context import Unheard
from fusion_core.errors import ConfigError, MissingAssetError
from fusion_core.files import write_atomic
from fusion_core.freeze import plant
from fusion_core.systems.base import FusionSystem, Options, SystemConfig

PEFT_WEIGHTS_FILE = "adapter_model.safetensors"
PEFT_CONFIG_FILE = "adapter_config.json"
ADAPTER = "default"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOnlyConfig(SystemConfig):
    """Settings of the blind floor.

    Attributes:
        rank: r.
        scaling: s, the factor of B A x; peft's alpha is s·r.
        targets: the linear layers of a block that are adapted, by their names within it; empty for all.
        linear_shapes: inputs and outputs of each linear layer of a block, by name.
        blocks_path: where the model keeps its blocks, such as ``model.layers``.
    """

    rank: int
    scaling: int = 2
    targets: tuple[str, ...] = ()
    linear_shapes: dict[str, tuple[int, int]]
    blocks_path: str

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("rank", "scaling")
        shapes = {name: (int(shape[0]), int(shape[1])) for name, shape in self.linear_shapes.items()}
        object.__setattr__(self, "linear_shapes", shapes)
        object.__setattr__(self, "targets", tuple(self.targets) or tuple(shapes))
        unknown = [target for target in self.targets if target not in shapes]
        if unknown or not self.targets:
            raise ConfigError(f"targets {unknown}: a block's linear layers are {', '.join(shapes) or 'none'}.")


class DataOnly(FusionSystem):
    """LoRA on the backbone; the clips that it is bound to are ignored."""

    name = "data-only"
    config_type = DataOnlyConfig
    matched_option = "rank"
    changes_backbone = True

    def __init__(self, config: DataOnlyConfig) -> None:
        super().__init__(config)
        self.lora = nn.Module()
        for block in range(config.backbone_depth):
            for target in config.targets:
                inputs, outputs = config.linear_shapes[target]
                inward = nn.Parameter(torch.empty(config.rank, inputs))
                nn.init.kaiming_uniform_(inward, a=math.sqrt(5))
                plant(self.lora, f"{block}.{target}.A", inward)
                plant(self.lora, f"{block}.{target}.B", nn.Parameter(torch.zeros(outputs, config.rank)))
        self._tuner: tuple[Any, ...] = ()

    @property
    def hears_prompt(self) -> bool:
        """It hears nothing, so the prompt is the same for every clip."""
        return False

    @classmethod
    def backbone_options(cls, backbone: Backbone) -> dict[str, Any]:
        """Return the options that the backbone decides, its linear layers among them."""
        backbone.require_untouched()
        layers = {name: layer for name, layer in backbone.blocks[0].named_modules() if isinstance(layer, nn.Linear)}
        return {
            **super().backbone_options(backbone),
            "linear_shapes": {name: (layer.in_features, layer.out_features) for name, layer in layers.items()},
            "blocks_path": backbone.blocks_path,
        }

    @classmethod
    def sized_options(cls, size: int, options: Options) -> Iterator[dict[str, Any]]:
        """Yield the rank on all linear layers or, finer measures, on those of self-attention, on its queries and values."""
        yield {"rank": size}
        if not options.get("targets"):
            attention = [name for name in options["linear_shapes"] if "att" in name.partition(".")[0]]
            queries_and_values = [name for name in attention if name.rpartition(".")[2][0] in "qv"]
            yield from ({"rank": size, "targets": tuple(some)} for some in (attention, queries_and_values) if some)

    def bind(self, x_BTA: Tensor, mask_BT: Tensor, slots_BS: Tensor | None = None) -> Unheard:
        """Return a context that adds nothing, whatever the clips are.

        Raises:
            ConfigError: the system is not attached, so its weights would not be used.
        """
        self.require_attached()
        return Unheard()

    def install(self, backbone: Backbone) -> None:
        """Wrap the linear layers in peft's, with this system's weights in them.

        Raises:
            MissingAssetError: peft is not installed.
        """
        try:
            from peft import LoraModel
        except ImportError:
            raise MissingAssetError("The system data-only needs peft: pip install 'fusion-core[lora]'.") from None
        tuner = LoraModel(backbone.model, {ADAPTER: self._peft_config()}, ADAPTER, low_cpu_mem_usage=True)
        self._tuner = (tuner,)  # in a tuple, as it is a module that holds the backbone
        for block, target, inward, outward in self._pairs():
            layer: Any = backbone.blocks[block].get_submodule(target)
            layer.lora_A[ADAPTER].weight = inward
            layer.lora_B[ADAPTER].weight = outward

    def remove(self, backbone: Backbone) -> None:
        """Take peft's layers out of the backbone."""
        for tuner in self._tuner:
            tuner.unload()
        self._tuner = ()

    def part_of(self, parameter: str) -> str:
        """Return ``lora``: there is nothing else."""
        return "lora"

    def save_pretrained(self, folder: Path) -> None:
        """Write fusion's files and peft's ``adapter_model.safetensors`` and ``adapter_config.json``."""
        super().save_pretrained(folder)
        prefix = f"base_model.model.{self.config.blocks_path}"
        weights = {}
        for block, target, inward, outward in self._pairs():
            weights[f"{prefix}.{block}.{target}.lora_A.weight"] = inward.detach().cpu().contiguous()
            weights[f"{prefix}.{block}.{target}.lora_B.weight"] = outward.detach().cpu().contiguous()
        write_atomic(folder / PEFT_WEIGHTS_FILE, save(weights, metadata={"format": "pt"}))
        content = {**self._peft_config().to_dict(), "inference_mode": True}
        write_atomic(folder / PEFT_CONFIG_FILE, json.dumps(content, indent=2, sort_keys=True).encode())

    def _pairs(self) -> Iterator[tuple[int, str, nn.Parameter, nn.Parameter]]:
        """Yield block, layer, A and B."""
        for block in range(self.config.backbone_depth):
            for target in self.config.targets:
                place = self.lora.get_submodule(f"{block}.{target}")
                yield block, target, place.get_parameter("A"), place.get_parameter("B")

    def _peft_config(self) -> Any:
        from peft import LoraConfig

        names = "|".join(re.escape(target) for target in self.config.targets)
        return LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.scaling * self.config.rank,
            target_modules=rf"{re.escape(self.config.blocks_path)}\.\d+\.({names})",
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        )
