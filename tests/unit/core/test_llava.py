"""LLaVA behind the backbone's interface: prompts, pixels and logits are those of transformers' own model and processor."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from fusion_core.backbone import Backbone
from fusion_core.errors import ConfigError, DataError
from fusion_core.images import ImagePreprocessing
from fusion_core.llava import LlavaBackbone
from fusion_core.outlines import outline
from fusion_core.pretrained import load_backbone
from fusion_core.vision import VisionBackbone

QUESTIONS = ("What is it?", "How many dogs are in the picture, and which of them sleeps?")


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tiny):
    """A random LLaVA as transformers stores it, its tokenizer with a first token of its own."""
    pytest.importorskip("torchvision")
    from tokenizers.processors import TemplateProcessing
    from transformers import CLIPImageProcessor, LlavaProcessor

    backbone = tiny("llava")
    tokenizer = backbone.tokenizer.__class__(
        tokenizer_object=backbone.tokenizer.backend_tokenizer,
        pad_token="<|pad|>",
        bos_token="<|start|>",
        eos_token="<|end|>",
        padding_side="left",
    )
    start = ("<|start|>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|start|> $A", special_tokens=[start])
    images = CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=backbone.tokenizer.chat_template,
    )
    place = tmp_path_factory.mktemp("llava")
    backbone.model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def llava(folder) -> LlavaBackbone:
    return load_backbone(str(folder))


@pytest.fixture(scope="session")
def processor(folder):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder)


def image(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    coarse = torch.randint(0, 256, (1, 3, 6, 8), generator=generator).float()
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).to(torch.uint8)


def left_padded(backbone: Backbone, rows: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(map(len, rows))
    ids = torch.tensor([[backbone.pad_id] * (length - len(row)) + list(row) for row in rows])
    return ids, torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])


def test_a_folder_of_llava_is_a_backbone_that_sees(llava):
    assert isinstance(llava, VisionBackbone)
    assert (llava.image_tokens, llava.image_size, llava.depth, llava.width) == (36, 24, 8, 32)
    assert not any(parameter.requires_grad for parameter in llava.model.parameters())
    assert llava.blocks_path == "model.language_model.layers"


@pytest.mark.parametrize("size", [(24, 24), (40, 70), (97, 31), (10, 24)])
def test_pixels_are_prepared_as_the_processor_does(llava, processor, size):
    pixels = image(*size)
    theirs = processor.image_processor(pixels[0], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(llava.preprocessing.prepare(pixels), theirs, rtol=0, atol=1e-5)


def test_what_is_smaller_than_the_square_is_surrounded_by_black():
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    x_13HW = ImagePreprocessing(8, 12, (0.0,) * 3, (1.0,) * 3).prepare(white)
    assert torch.equal(x_13HW[0, 0, 2:10, 2:10], torch.ones(8, 8))
    assert float(x_13HW.sum()) == pytest.approx(3 * 64)


@pytest.mark.parametrize("question", QUESTIONS)
def test_prompts_are_those_of_the_processor(llava, processor, question):
    said = {"type": "text", "text": question}
    for parts, seen in (([{"type": "image"}, said], True), ([said], False)):
        text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
        images = {"images": [image(24, 24)[0]]} if seen else {}
        theirs = processor(text=[text], return_tensors="pt", **images)["input_ids"]
        prompt = llava.question(question, image=seen)
        assert list(prompt.ids) == theirs[0].tolist()
        assert prompt.ids.count(llava.image_token_id) == 36 * seen
        assert prompt.ids[0] == llava.tokenizer.bos_token_id
    assert llava.prompt(question) == prompt  # a caption is asked for as a question without an image


def test_logits_are_those_of_transformers_left_padded_and_cached(llava, processor):
    from transformers import DynamicCache

    pixels = torch.cat([image(30, 24), image(24, 30).transpose(2, 3)])
    texts = [llava.ask(question, image=True).replace("<image>" * 36, "<image>") for question in QUESTIONS]
    inputs = processor(text=texts, images=list(pixels), padding=True, return_tensors="pt")
    ids, mask = left_padded(llava, [llava.question(question, image=True).ids for question in QUESTIONS])
    assert torch.equal(ids, inputs["input_ids"])
    with torch.no_grad():
        theirs = llava.model(**inputs, position_ids=(mask.cumsum(1) - 1).clamp_min(0)).logits
        images = llava.embed_images(pixels)
        mine = llava.logits(llava.hidden(ids, mask, images_BID=images))
        assert torch.equal(mine[mask.bool()], theirs[mask.bool()])
        assert not torch.allclose(mine[0, -1], llava.logits(llava.hidden(ids, mask, images_BID=images.flip(0)))[0, -1])
        cache = DynamicCache(config=llava.decoder.config)
        head = llava.hidden(ids[:, :-3], mask[:, :-3], cache, images_BID=images)
        rest = llava.hidden(ids[:, -3:], mask, cache)
    cached = llava.logits(torch.cat([head, rest], dim=1))
    torch.testing.assert_close(cached[mask.bool()], mine[mask.bool()], rtol=1e-4, atol=1e-4)


def test_without_an_image_it_is_the_language_model_bit_for_bit(llava):
    ids = torch.tensor([llava.prompt().ids])
    with torch.no_grad():
        assert torch.equal(llava.logits(llava.hidden(ids)), llava.model(ids).logits)


def test_slots_and_the_unheard_part_come_as_in_any_prompt(llava):
    whole = llava.question(QUESTIONS[0], image=True)
    slotted = llava.question(QUESTIONS[0], image=True, slots=4)
    assert len(slotted.ids) == len(whole.ids) + 4
    assert llava.tokenizer.decode(slotted.ids[slotted.slots[-1] + 1 :]).startswith(QUESTIONS[0])
    assert llava.question(QUESTIONS[0], image=True, heard=False).rest == whole.ids[-1:]


def test_a_mark_for_an_image_within_a_question_is_left_out(llava):
    assert llava.question(f"<image>\n{QUESTIONS[0]}", image=True) == llava.question(QUESTIONS[0], image=True)
    assert llava.image_token_id not in llava.question(f"{QUESTIONS[0]}\n<image>", image=False).ids


def test_images_that_do_not_fit_their_prompts_are_refused(llava, backbone):
    images = llava.embed_images(image(24, 24))
    ids = torch.tensor([llava.question(QUESTIONS[0], image=True).ids])
    with pytest.raises(ConfigError, match="1 images of 36 tokens do not fit 1 prompts with \\[0\\]"):
        llava.hidden(torch.tensor([llava.prompt().ids]), images_BID=images)
    with pytest.raises(ConfigError, match="2 images of 36 tokens do not fit 1 prompts"):
        llava.hidden(ids, images_BID=images.expand(2, -1, -1))
    with pytest.raises(ConfigError, match="tiny-random sees no images"):
        backbone.hidden(ids, images_BID=images)


def test_an_outline_has_the_tower_and_no_weights(folder, llava):
    model = outline(str(folder))
    assert isinstance(model, LlavaBackbone)
    shapes = {name: value.shape for name, value in model.model.state_dict().items()}
    assert shapes == {name: value.shape for name, value in llava.model.state_dict().items()}
    assert model.device.type == "meta"
    with pytest.raises(DataError, match="no image processor"):
        model.embed_images(image(24, 24))


def test_older_layouts_load_and_incomplete_ones_are_refused(folder, llava, tmp_path):
    copy = tmp_path / "llava"
    shutil.copytree(folder, copy)
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(DataError, match="no chat template"):
        load_backbone(str(copy))
    (copy / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    processor = json.loads((copy / "processor_config.json").read_text())
    (copy / "processor_config.json").unlink()
    with pytest.raises(DataError, match=r"preprocessor_config\.json is missing"):
        load_backbone(str(copy))
    (copy / "preprocessor_config.json").write_text(json.dumps(processor["image_processor"]))
    older = load_backbone(str(copy))
    assert older.preprocessing == llava.preprocessing
    assert older.question(QUESTIONS[0], image=True) == llava.question(QUESTIONS[0], image=True)
    (copy / "preprocessor_config.json").write_text(json.dumps({"size": 24}))
    with pytest.raises(DataError, match="not the image processor of a CLIP"):
        load_backbone(str(copy))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "fuyu"}))
    with pytest.raises(ConfigError, match="models of type 'fuyu' see images, and fusion knows those of llava"):
        load_backbone(str(copy))
