"""The folder that a stranger can load: weights (safetensors), configuration, and a tokenizer in which one code is one token."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, PreTrainedTokenizerFast, RobertaPreLayerNormForMaskedLM
from transformers.utils import logging as transformers_logging

from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.errors import UserError
from ehr_pipeline.vocabulary.table import SPECIAL_TOKENS, Vocabulary

transformers_logging.disable_progress_bar()  # a bar for one small file says nothing, and fills logs


def save(folder: Path, model: RobertaPreLayerNormForMaskedLM, vocabulary: Vocabulary) -> None:
    """Write a folder that AutoModel, AutoModelForMaskedLM and AutoTokenizer read, with the vocabulary that names its tokens."""
    model.save_pretrained(folder)
    tokenizer_of(vocabulary).save_pretrained(folder)
    vocabulary.write(folder)


def tokenizer_of(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """Concepts separated by blanks become one token each; nothing is added at either end."""
    pad, mask, unknown, cls, sep = SPECIAL_TOKENS
    ids = {token: index for index, token in enumerate(SPECIAL_TOKENS)} | vocabulary.token_of
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        mask_token=mask,
        unk_token=unknown,
        cls_token=cls,
        sep_token=sep,
        clean_up_tokenization_spaces=False,
    )


def load(folder: Path, vocabulary: Vocabulary, device: torch.device) -> PackedEncoder:
    """Read a checkpoint for use, with the vocabulary that it was trained with, or one that this grew into.

    Raises UserError when it was trained with another, since its answers would be nonsense, and when it is torn.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
        model = RobertaPreLayerNormForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"The checkpoint in {folder} cannot be read: a file of it is missing or damaged ({str(error).splitlines()[0]})."
            " Copy the folder again, or materialise encoder_checkpoint again."
        ) from error
    found = getattr(config, "vocabulary_hash", None)
    if found != vocabulary.first(config.vocab_size).hash:
        raise UserError(
            f"The checkpoint in {folder} was trained with vocabulary {found}, but the current one is {vocabulary.hash}:"
            " its token ids would mean other concepts. Materialise encoder_checkpoint again."
        )
    return PackedEncoder(model).to(device).eval()
