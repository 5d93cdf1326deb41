"""Every fusion system in each of its forms, on tiny frozen backbones of several architectures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from fusion_core.backbone import INSTRUCTION, Backbone, BackboneIdentity
from fusion_core.images import ImagePreprocessing
from fusion_core.llava import LlavaBackbone
from fusion_core.match import matched_config
from fusion_core.pretrained import load_backbone
from fusion_core.prompt import Prompt
from fusion_core.systems import SYSTEMS
from fusion_core.systems.additive import AdditiveConfig
from fusion_core.systems.base import FusionSystem
from fusion_core.tiny_random import byte_tokenizer
from fusion_core.vision import VisionBackbone

# The chat of LLaVA-1.5 as its processor writes it.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
IMAGE = torch.randint(0, 256, (1, 3, 24, 24), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
ENCODER_WIDTH = 12
SITES = (3, 6)
CAPTION = "A dog."
ADDITIVE = [
    {"placement": placement, "mixing": mixing, "adapter": adapter}
    for placement, mixing, adapter in itertools.product(
        ("broadcast", "slots", "both"), ("gated", "static"), ("linear", "modulated")
    )
    if adapter == "linear" or placement == "broadcast"
]
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"additive-{'-'.join(kind.values())}": ("additive", kind) for kind in ADDITIVE},
    "additive-peak": ("additive", {"adapter": "modulated", "peak": True}),
    "additive-answer-alone": ("additive", {"hears": "answer", "peak": True}),
    "concat": ("concat", {"width": 10}),
    "concat-peak": ("concat", {"width": 10, "peak": True}),
    "concat-both-static": ("concat", {"width": 10, "placement": "both", "mixing": "static"}),
    "cross-attention": ("cross-attention", {"width": 4}),
    "cross-attention-heads": ("cross-attention", {"width": 6, "heads": 3, "sites": [2, 5]}),
    "hybrid": ("hybrid", {"projector_width": 24}),
    "partial-unfreeze": ("partial-unfreeze", {"width": 4}),
    "data-only": ("data-only", {"rank": 3}),
    "data-only-attention": ("data-only", {"rank": 2, "scaling": 1, "targets": "attention"}),
}
ONE_EACH = ["additive-broadcast-gated-linear", "concat", "cross-attention", "hybrid", "partial-unfreeze", "data-only"]
ARCHITECTURES = ("llama", "qwen2", "gpt-neox", "llava")


@cache
def load_tiny(architecture: str, dtype: torch.dtype = torch.float32) -> Backbone:
    """Return a random backbone of 8 blocks; one object for all tests, so each test must leave it as it was."""
    llama = load_backbone("tiny-random", dtype)
    if architecture == "llama":
        return llama
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, Qwen2Config, Qwen2ForCausalLM

    common = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "vocab_size": len(llama.tokenizer),
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "bos_token_id": llama.tokenizer.bos_token_id,
        "eos_token_id": llama.tokenizer.eos_token_id,
        "pad_token_id": llama.tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if architecture == "llava":
            return tiny_llava(common, dtype)
        if architecture == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**common, num_key_value_heads=2))
        else:
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**common))
    return Backbone(model.to(dtype), llama.tokenizer, BackboneIdentity(architecture, "0" * 64))


def tiny_llava(language: dict[str, Any], dtype: torch.dtype) -> LlavaBackbone:
    """Return a random LLaVA with a CLIP tower of two layers, 6 x 6 cells of 4 pixels, and LLaVA's chat."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=24,
        patch_size=4,
        projection_dim=16,
        initializer_range=0.5,
    )
    text = LlamaConfig(**{**language, "vocab_size": len(tokenizer)}, num_key_value_heads=2)
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_id, image_seq_length=36)
    config.initializer_range = 0.3
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation="eager").to(dtype)
    preprocessing = ImagePreprocessing(24, 24, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    return LlavaBackbone(model, tokenizer, BackboneIdentity("llava", "0" * 64), preprocessing)


def reference(**options: Any) -> AdditiveConfig:
    """The additive configuration that the tests' systems are derived from."""
    values = {
        "backbone_width": 32,
        "backbone_depth": 8,
        "encoder_width": ENCODER_WIDTH,
        "sites": SITES,
        "tokens": 4,
        "projector_width": 24,
        "gate_init": 0.3,
        **options,
    }
    return AdditiveConfig(**values)


def make_fresh(backbone: Backbone, form: str, **changes: Any) -> FusionSystem:
    """Build a calibrated system as it is before training, not attached."""
    name, options = FORMS[form]
    system_type = SYSTEMS.load(name)
    facts = system_type.backbone_options(backbone)
    if options.get("targets") == "attention":
        options = options | {"targets": [layer for layer in facts["linear_shapes"] if "att" in layer]}
    config = matched_config(name, reference(), {**facts, **options, **changes})
    torch.manual_seed(1)
    system = system_type(config)
    system.calibrate(backbone)
    return system.eval()


def move_from_start(system: FusionSystem) -> FusionSystem:
    """Move every parameter that starts at 0, or as a copy, to some other value."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in system.named_parameters():
            if name.endswith("gate.opening"):
                parameter.fill_(0.2)
            elif "mixing" in name or name.endswith("adapter.text.weight"):
                parameter.normal_(std=0.5)
            elif name.startswith("blocks.") or name.endswith(".B"):
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return system


@dataclass
class Fused:
    """A system attached to its backbone; one that sees is shown an image with every prompt."""

    backbone: Backbone
    system: FusionSystem

    @property
    def prompt(self) -> Prompt:
        system = self.system
        if isinstance(self.backbone, VisionBackbone):
            return self.backbone.question(INSTRUCTION, image=True, slots=system.slots, heard=system.hears_prompt)
        return system.prompt(self.backbone)

    def hidden(self, ids_BS: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        """The backbone's hidden state, the image in its place where the call reads it."""
        images_BID = None
        if isinstance(self.backbone, VisionBackbone) and (ids_BS == self.backbone.image_token_id).any():
            images_BID = self.backbone.embed_images(IMAGE).expand(len(ids_BS), -1, -1)
        return self.backbone.hidden(ids_BS, *arguments, images_BID=images_BID, **keywords)

    def ids(self, rows: int) -> torch.Tensor:
        """Prompt and caption, the same in each row."""
        caption = self.backbone.tokenizer(CAPTION, add_special_tokens=False)["input_ids"]
        return torch.tensor([[*self.prompt.ids, *caption]] * rows)

    def bare(self, ids_BS: torch.Tensor) -> torch.Tensor:
        """Logits with no audio bound."""
        return self.backbone.logits(self.hidden(ids_BS))

    def logits(self, ids_BS: torch.Tensor, frames: Any, mask_BS: Any = None, slots_BS: Any = None) -> torch.Tensor:
        """Logits with the clips of ``frames`` bound."""
        slots_BS = self.prompt.slot_index(ids_BS.shape[1]) if slots_BS is None else slots_BS
        context = self.system.bind(*frames, slots_BS)
        return self.backbone.logits(self.hidden(ids_BS, mask_BS, fusion=context))


@pytest.fixture
def fuse() -> Iterator[Callable[..., Fused]]:
    """Build a fused model of a form; what was attached is detached after the test."""
    made: list[Fused] = []

    def build(form: str, backbone: Backbone, *, fresh: bool = False, **changes: Any) -> Fused:
        system = make_fresh(backbone, form, **changes)
        fused = Fused(backbone, system if fresh else move_from_start(system))
        fused.system.attach(backbone)
        made.append(fused)
        return fused

    yield build
    for fused in made:
        fused.system.detach()


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Backbone]:
    """Return the tiny backbone of an architecture and type."""
    return load_tiny


@pytest.fixture
def additive_reference() -> Callable[..., AdditiveConfig]:
    """Return the tests' additive configuration, changed by keywords."""
    return reference


@pytest.fixture
def backbone() -> Backbone:
    """The tiny random Llama in fp32."""
    return load_tiny("llama")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test the part of the matrix it asks for: ``fused`` all of it, ``form`` and ``architecture`` their axis."""
    if "fused" in metafunc.fixturenames:
        whole = [(form, architecture) for form in FORMS for architecture in ARCHITECTURES]
        few = [(form, kind) for form, kind in whole if kind == "llama" or form in ONE_EACH]
        metafunc.parametrize("fused", few, ids=["-on-".join(pair) for pair in few], indirect=True)
    taken = " ".join(str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    for axis, values in (("form", FORMS), ("one_form", ONE_EACH), ("architecture", ARCHITECTURES)):
        if axis in metafunc.fixturenames and axis not in taken:
            metafunc.parametrize(axis, values)


@pytest.fixture
def fused(request: pytest.FixtureRequest, fuse: Callable[..., Fused]) -> Fused:
    """A fused model whose weights have left their starting values."""
    form, architecture = request.param
    return fuse(form, load_tiny(architecture))


@pytest.fixture
def frames() -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of three clips of 9, 5 and 2 frames, and their mask."""
    generator = torch.Generator().manual_seed(3)
    x_BTA = torch.randn(3, 9, ENCODER_WIDTH, generator=generator)
    mask_BT = torch.arange(9)[None] < torch.tensor([9, 5, 2])[:, None]
    return x_BTA * mask_BT[..., None], mask_BT
