"""What tiny-vlm is to understand and say, and the tokenizer for it: byte pairs, merged where the language is frequent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from fusion_train.datasets.scenes.annotate import annotate
from fusion_train.datasets.scenes.bank import SynthesisedBank
from fusion_train.datasets.scenes.options import ScenesOptions
from fusion_train.datasets.scenes.plan import Planner
from fusion_train.text_questions import text_questions
from fusion_train.visual_questions import example
from fusion_train.visual_questions.scene import COLOURS, SHAPES

VOCABULARY = 600
MARKS = ("<pad>", "<s>", "</s>", "<image>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper if message['role'] == 'user' else 'ASSISTANT' }}: "
    "{% if message['content'] is string %}{{ message['content'] }} {% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_CLIPS = 1200  # planned scenes of sound whose captions are the plain text
_SAMPLED = 300  # procedural images whose questions the tokenizer is trained on, and
_FREQUENT = 10  # how often each of them counts,
_COMMON = 2000  # and how often each name of a colour or shape, so that it is one token


@cache
def captions() -> tuple[str, ...]:
    """Return template captions of sounds: those of the training split of ``scenes``, planned but not rendered."""
    options = ScenesOptions(train=_CLIPS)
    scenes = Planner(options, SynthesisedBank(options.sample_rate, options.seed)).plan()["train"]
    return tuple(caption for scene in scenes for caption in annotate(scene, options.seed))


def _corpus() -> Iterator[str]:
    for index in range(_SAMPLED):
        for question in example("train", 0, index)[1]:
            yield from (f"USER: {question.text} ASSISTANT:", question.answer) * _FREQUENT
    for word in (*COLOURS, *SHAPES):
        yield from (word, f" {word}") * _COMMON
    for item in text_questions():
        yield from (f"USER: {item.text} ASSISTANT:", *item.choices)
    yield from captions()


def train_tokenizer() -> Any:
    """Return a byte-level BPE tokenizer with LLaVA's marks and chat; anything in UTF-8 can be written with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    start = MARKS[1]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A $B", special_tokens=[(start, tokenizer.token_to_id(start))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=MARKS[0],
        bos_token=MARKS[1],
        eos_token=MARKS[2],
        additional_special_tokens=[MARKS[3]],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
