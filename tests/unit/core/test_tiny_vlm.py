"""The tiny vision-language model that the package carries: small, whole, and loaded alike by fusion and by transformers."""

from __future__ import annotations

import json

import pytest
import torch
from fusion_core.files import sha256_file
from fusion_core.outlines import outline
from fusion_core.pretrained import load_backbone
from fusion_core.tiny_vlm import TINY_VLM_FOLDER
from fusion_core.vision import VisionBackbone


@pytest.fixture(scope="module")
def tiny_vlm() -> VisionBackbone:
    return load_backbone("tiny-vlm")


def test_what_is_carried_is_what_the_card_says(tiny_vlm):
    card = json.loads((TINY_VLM_FOLDER / "card.json").read_text())
    weights = TINY_VLM_FOLDER / "model.safetensors"
    assert sha256_file(weights) == card["weights_sha256"] == tiny_vlm.identity.weights_sha256
    assert card["weights_sha256"] in (TINY_VLM_FOLDER / "README.md").read_text()
    assert sum(parameter.numel() for parameter in tiny_vlm.model.parameters()) == card["parameters"]
    assert sum(file.stat().st_size for file in TINY_VLM_FOLDER.iterdir()) <= 4_000_000


def test_it_has_eight_blocks_and_eyes(tiny_vlm):
    assert isinstance(tiny_vlm, VisionBackbone)
    assert (tiny_vlm.depth, tiny_vlm.width) == (8, 96)
    assert tiny_vlm.identity.name == "tiny-vlm"
    assert outline("tiny-vlm").depth == 8


def test_anything_can_be_written_with_its_tokens(tiny_vlm):
    for text in ("Hört, hört! 音が鳴る 🔔", "tabs\tand\nlines", "<image> is a mark"):
        ids = tiny_vlm.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tiny_vlm.tokenizer.decode(ids) == text
    assert len(tiny_vlm.tokenizer) <= 600


def test_transformers_loads_it_with_its_processor(tiny_vlm):
    pytest.importorskip("torchvision")
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(TINY_VLM_FOLDER)
    pixels = torch.randint(0, 256, (3, 70, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    parts = [{"type": "image"}, {"type": "text", "text": "How many circles are there?"}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    inputs = processor(text=[text], images=[pixels], return_tensors="pt")
    prompt = tiny_vlm.question("How many circles are there?", image=True)
    assert inputs["input_ids"].tolist() == [list(prompt.ids)]
    model = AutoModelForImageTextToText.from_pretrained(
        TINY_VLM_FOLDER, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        theirs = model(**inputs).logits
        images = tiny_vlm.embed_images(pixels[None])
        mine = tiny_vlm.logits(tiny_vlm.hidden(torch.tensor([prompt.ids]), images_BID=images))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
