"""What is known beforehand changes nothing: the prompt's head and the frozen prefix give the same numbers, to the bit in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fusion_core.backbone import Backbone
from fusion_core.errors import ConfigError, DataError
from fusion_core.pretrained import load_backbone
from fusion_core.split import SplitDecoder
from fusion_core.systems.base import FusionSystem
from fusion_encoders.base import FeatureSequence
from fusion_train.captioner import Captioner
from fusion_train.config import DecodingSettings, RunSettings
from fusion_train.examples import CaptionedClip, TrainingExamples
from fusion_train.generate import generate
from fusion_train.judging import Validation
from fusion_train.learner import Learner
from fusion_train.model import build_system
from fusion_train.objectives.xe import cross_entropy_sum
from fusion_train.phases import cross_entropy_phase
from fusion_train.prefix import FrozenPrefix
from fusion_train.reading import Reader, heard_from, make_reader, prompt_head
from fusion_train.statistics import fit_statistics

WIDTH = 6
CAPTIONS = ("A dog barks", "Rain falls on a roof while somebody knocks", "A bell", "")
SYSTEMS = ("additive", "concat", "cross-attention", "data-only", "hybrid", "partial-unfreeze")
SITED = {"additive", "concat"}
SIZES = {"cross-attention": {"width": 6}, "partial-unfreeze": {"width": 6}, "hybrid": {"projector_width": 16}}


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny-random")


@pytest.fixture
def build(tiny: Backbone) -> Iterator[Callable[..., FusionSystem]]:
    made: list[FusionSystem] = []

    def make(name: str, hears: str = "answer", **changes: object) -> FusionSystem:
        for earlier in made:
            earlier.detach()
        system = build_system(name, settings(hears, system=SIZES.get(name, {}), **changes), tiny, WIDTH)
        made.append(system)
        with torch.no_grad():
            for parameter_name, parameter in system.named_parameters():
                if parameter_name.endswith("gate.opening"):
                    parameter.fill_(0.2)  # cross-attention starts closed
        return system

    yield make
    for system in made:
        system.detach()


def settings(hears: str = "answer", **changes: object) -> RunSettings:
    values = {
        "reference": {"sites": [3, 6], "tokens": 4, "projector_width": 16, "hears": hears},
        "batch": 4,
        "precision": "fp32",
        "schedule": {"steps": 6, "warmup": 0.2},
        "evaluation": {"every": 3},
        "checkpoint_every": 2,
        **changes,
    }
    return RunSettings.model_validate(values)


def frames(key: str) -> np.ndarray:
    return np.random.default_rng(int(key)).normal(size=(3 + int(key) % 5, WIDTH)).astype(np.float32)


def examples_of(backbone: Backbone, system: FusionSystem) -> TrainingExamples:
    clips = [CaptionedClip(f"c{n}", str(n), (CAPTIONS[n % 4], CAPTIONS[(n + 1) % 4])) for n in range(20)]
    return TrainingExamples(clips, backbone, system.prompt(backbone), frames, 0)


def gradients(
    system: FusionSystem, reader: Reader, examples: TrainingExamples
) -> tuple[float, dict[str, torch.Tensor]]:
    batch = examples.collate([(0, 0), (1, 0), (2, 1), (3, 0)])
    reader.prepare(examples.tokens[clip][caption][:-1] for clip, caption in [(0, 0), (1, 0), (2, 1), (3, 0)])
    system.zero_grad(set_to_none=True)
    loss = cross_entropy_sum(reader, batch, system.bind(batch.features.x_BTA, batch.features.mask_BT))
    torch.autograd.backward(loss)
    found = {name: p.grad.clone() for name, p in system.named_parameters() if p.grad is not None}
    return float(loss.detach()), found


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_prompt_read_once_gives_the_same_loss_and_gradients(name, build, tiny):
    system = build(name)
    examples = examples_of(tiny, system)
    prompt = examples.prompt
    assert prompt.unheard == len(prompt.ids) - 1
    loss, expected = gradients(system, Reader(tiny, prompt), examples)
    shared_loss, shared = gradients(system, Reader(tiny, prompt, prompt_head(tiny, system, prompt)), examples)
    assert shared_loss == pytest.approx(loss, rel=1e-6)
    assert expected.keys() == shared.keys()
    for parameter, gradient in expected.items():  # kernels for fewer positions may round otherwise
        torch.testing.assert_close(shared[parameter], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hears", ["all", "answer"])
@pytest.mark.parametrize("with_head", [True, False])
@pytest.mark.parametrize("name", sorted(SITED))
def test_the_frozen_prefix_gives_the_same_loss_and_gradients_to_the_bit(name, hears, with_head, build, tiny, tmp_path):
    system = build(name, hears)
    assert system.first_site == 3
    examples = examples_of(tiny, system)
    prompt = examples.prompt
    head = prompt_head(tiny, system, prompt) if with_head else None
    prefix = FrozenPrefix(tiny, prompt, system.first_site, tmp_path)
    loss, expected = gradients(system, Reader(tiny, prompt, head), examples)
    cached_loss, cached = gradients(system, Reader(tiny, prompt, head, prefix), examples)
    assert cached_loss == loss
    assert expected.keys() == cached.keys()
    assert all(torch.equal(cached[parameter], gradient) for parameter, gradient in expected.items())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_run_with_the_frozen_prefix_is_the_run_without_to_the_bit(checkpointing, build, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "cache"))
    found = []
    for frozen in (False, True):
        chosen = settings(gradient_checkpointing=checkpointing, frozen_prefix=frozen)
        system = build("additive", gradient_checkpointing=checkpointing)
        examples = examples_of(tiny, system)
        fit_statistics(system, examples)
        reader = make_reader(tiny, system, examples.prompt, chosen)
        assert (reader.prefix is not None) is frozen
        learner = Learner(tiny, system, examples, reader, Accelerator(cpu=True), chosen.batch)
        cross_entropy_phase(learner, Validation(lambda: 0.0), chosen, tmp_path / str(frozen)).train()
        found.append(system.adapter_bytes())
        tiny.model.gradient_checkpointing_disable()
    assert found[0] == found[1]


def test_a_caption_is_computed_once_and_found_by_the_next_run(build, tiny, tmp_path):
    system = build("additive")
    prompt = system.prompt(tiny)
    tokens = examples_of(tiny, system).tokens
    captions = [caption[:-1] for captions in tokens for caption in captions]
    first = FrozenPrefix(tiny, prompt, 3, tmp_path)
    assert first.fill(captions) == len(first) == len(CAPTIONS)
    assert first.fill(captions) == 0
    again = FrozenPrefix(tiny, prompt, 3, tmp_path)
    assert len(again) == len(CAPTIONS)
    assert again.folder == first.folder
    assert again.fill(captions) == 0
    assert FrozenPrefix(tiny, prompt, 2, tmp_path).folder != first.folder
    assert FrozenPrefix(tiny, tiny.prompt("Say what you hear."), 3, tmp_path).folder != first.folder


def test_a_damaged_prefix_is_named(build, tiny, tmp_path):
    system = build("additive")
    examples = examples_of(tiny, system)
    prefix = FrozenPrefix(tiny, examples.prompt, 3, tmp_path)
    prefix.fill([examples.tokens[0][0][:-1]])
    (path,) = prefix.folder.glob("frames.*")
    path.write_bytes(bytes(path.stat().st_size))
    again = FrozenPrefix(tiny, examples.prompt, 3, tmp_path)
    with pytest.raises(DataError, match="damaged"):
        again.stream(examples.collate([(0, 0)]))


@pytest.mark.parametrize("block", [0, 8])
def test_a_decoder_is_cut_between_its_blocks(block, tiny):
    with pytest.raises(ConfigError, match="8 blocks cannot be cut"):
        SplitDecoder(tiny, block)


def test_a_decoder_that_scales_what_it_is_given_is_refused(tiny, monkeypatch):
    """Some architectures scale their input embeddings: entered in the middle, they compute something else."""
    original = type(tiny.decoder).forward

    def scaled(self, *args, inputs_embeds=None, **keywords):
        return original(self, *args, inputs_embeds=None if inputs_embeds is None else 3 * inputs_embeds, **keywords)

    monkeypatch.setattr(type(tiny.decoder), "forward", scaled)
    with pytest.raises(ConfigError, match="frozen_prefix=false"):
        SplitDecoder(tiny, 3)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", SYSTEMS)
def test_decoding_after_a_shared_head_is_decoding_of_the_whole_prompt(name, beams, build, tiny):
    system = build(name).eval()
    prompt = system.prompt(tiny)
    features = FeatureSequence.pad([torch.from_numpy(frames(key)) for key in "012"])
    chosen = DecodingSettings(beams=beams, max_new_tokens=6)
    context = heard_from(system.bind(features.x_BTA, features.mask_BT), prompt)

    class OnlyInThePrompt:
        """Leaves the head alone in the first call; the single tokens after it all hear."""

        def enter_block(self, block, h_BSD):
            return (
                context.enter_block(block, h_BSD) if h_BSD.shape[1] > 1 else context.context.enter_block(block, h_BSD)
            )

    expected = generate(tiny, torch.tensor([prompt.ids] * 3), chosen, OnlyInThePrompt())
    captioner = Captioner(tiny, system, prompt)
    for _ in range(2):  # the second time the head is there already
        found = captioner.caption(features, chosen)
        for mine, theirs in zip(found, expected, strict=True):
            assert [one.logprob for one in mine] == pytest.approx([one.logprob for one in theirs], rel=1e-5)
            texts = [" ".join(tiny.tokenizer.decode(one.ids, skip_special_tokens=True).split()) for one in theirs]
            assert [one.text for one in mine] == texts


def test_slots_need_a_prompt_that_is_heard(build):
    with pytest.raises(ConfigError, match="hears 'all'"):
        build("additive", reference={"sites": [3, 6], "tokens": 4, "hears": "answer", "placement": "slots"})
