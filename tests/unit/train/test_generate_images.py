"""Decoding about images: prompts of several lengths, beams, a cache: the words of transformers' own generate."""

from __future__ import annotations

import pytest
import torch
from fusion_core.pretrained import load_backbone
from fusion_core.prompt import Prompt
from fusion_train.config import DecodingSettings
from fusion_train.generate import generate
from fusion_train.visual_questions import example, render

QUESTIONS = ("What is it?", "How many red objects are there?", "Describe the picture in a few words, please.")


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny-vlm")


@pytest.fixture(scope="module")
def images(backbone) -> torch.Tensor:
    scenes = [example("test", 0, index)[0] for index in range(len(QUESTIONS))]
    pixels = [torch.from_numpy(render(scene, backbone.image_size)).permute(2, 0, 1) for scene in scenes]
    return torch.stack(pixels)


def left_padded(backbone, prompts: list[Prompt]) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(prompt.ids) for prompt in prompts)
    ids = [[backbone.pad_id] * (length - len(prompt.ids)) + list(prompt.ids) for prompt in prompts]
    mask = [[0] * (length - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize("beams", [1, 4])
def test_answers_are_those_of_transformers(backbone, images, beams):
    ids, mask = left_padded(backbone, [backbone.question(question, image=True) for question in QUESTIONS])
    settings = DecodingSettings(beams=beams, max_new_tokens=12)
    mine = generate(backbone, ids, settings, mask_BS=mask, images_BID=backbone.embed_images(images))
    theirs = backbone.model.generate(
        ids,
        attention_mask=mask,
        pixel_values=backbone.preprocessing.prepare(images),
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=12,
        early_stopping=False,
        do_sample=False,
        eos_token_id=backbone.end_id,
        pad_token_id=backbone.pad_id,
    )
    rows = theirs[:, ids.shape[1] :].view(len(QUESTIONS), beams, -1).tolist()
    marks = (backbone.pad_id, backbone.end_id)
    expected = [[tuple(token for token in beam if token not in marks) for beam in row] for row in rows]
    assert [[hypothesis.ids for hypothesis in found] for found in mine] == expected


def test_a_batch_says_what_each_says_alone(backbone, images):
    prompts = [backbone.question(question, image=True) for question in QUESTIONS]
    ids, mask = left_padded(backbone, prompts)
    seen = backbone.embed_images(images)
    settings = DecodingSettings(beams=3, max_new_tokens=8)
    together = generate(backbone, ids, settings, mask_BS=mask, images_BID=seen)
    for index, prompt in enumerate(prompts):
        alone = generate(backbone, torch.tensor([prompt.ids]), settings, images_BID=seen[index : index + 1])[0]
        assert [one.ids for one in alone] == [one.ids for one in together[index]]
        assert [one.logprob for one in alone] == pytest.approx([one.logprob for one in together[index]], abs=1e-3)
