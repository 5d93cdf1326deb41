"""A backbone that also sees: an image becomes tokens of the prompt, in the place that the model's own chat prompt keeps for it.

Whatever turns images into tokens is frozen with the rest, and hearing is added to it as to any other backbone: a caption is
asked for without an image, a question with one or, blind, without.

Shapes: B batch, S text positions, I tokens of an image, D backbone width, H and W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fusion_core.backbone import Backbone
from fusion_core.errors import ConfigError
from fusion_core.prompt import Prompt


class VisionBackbone(Backbone, ABC):
    """A frozen vision-language model.

    A subclass says what its images become and how its chat prompt shows them; it calls the constructor of :class:`Backbone`.

    Attributes:
        image_token_id: the token in whose place a token of an image stands.
        image_tokens: I, how many of them an image has.
        image_size: pixels a side of the square that is seen; larger images are made smaller.
    """

    image_token_id: int
    image_tokens: int
    image_size: int

    @abstractmethod
    def embed_images(self, pixels_B3HW: Tensor) -> Tensor:
        """Return what the images put into the prompt, e_BID.

        Args:
            pixels_B3HW: RGB in uint8, of any size.
        """

    @abstractmethod
    def ask(self, question: str, image: bool) -> str:
        """Return the text of the model's own chat prompt for a question, the I image tokens spelt out where there is an image."""

    def question(self, text: str, image: bool, slots: int = 0, heard: bool = True) -> Prompt:
        """Return the prompt of a question.

        Args:
            text: the question; a mark for an image in it is left out, since the chat prompt says where an image goes.
            image: whether an image is asked about; if not, nothing in the prompt tells of one.
            slots: K placeholder tokens before the question, for slot placement.
            heard: whether all of it is read with audio, or its last token alone.
        """
        mark: str = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
        text = text.replace(mark, "").strip()
        return self._prompt(self.ask(text, image), text, slots, heard)

    def embed(self, ids_BS: Tensor, images_BID: Tensor) -> Tensor:
        """Return the embeddings of a call with images in it, e_BSD.

        Raises:
            ConfigError: a prompt has not as many image tokens as its image.
        """
        seen_BS = ids_BS == self.image_token_id
        wanted = images_BID.shape[1]
        if len(ids_BS) != len(images_BID) or not torch.all(seen_BS.sum(dim=1) == wanted):
            raise ConfigError(
                f"{len(images_BID)} images of {wanted} tokens do not fit {len(ids_BS)} prompts with "
                f"{sorted(set(seen_BS.sum(dim=1).tolist()))} image tokens; make each prompt by question(…, image=True)."
            )
        words_BSD: Tensor = self.model.get_input_embeddings()(ids_BS)
        return words_BSD.masked_scatter(seen_BS[..., None], images_BID.to(words_BSD))
