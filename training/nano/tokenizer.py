"""The nano base's tokenizer: byte-level BPE, single digits, ChatML turns as single tokens, names as single tokens.

Single digits matter: with whole numbers as tokens a model of this size does not learn to subtract. Names matter, too:
those of elements and seasons are tokens of their own, the same in the prompt and in a sentence, whatever follows them.
Otherwise such a model hardly reads what is in the park (docs/LOG.md).
"""

import random
from itertools import islice

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from core.catalogue import elements
from core.prompt import SYSTEM_PROMPT
from core.season import Season
from training.chat_template import CHATML, END_OF_TURN, START_OF_TURN
from training.nano.corpus import rambling_stream, short_stream, terse_stream

PAD = "<|pad|>"  # not the end-of-turn token: padding is masked, the end of a turn must be learned
SPECIAL_TOKENS = (PAD, START_OF_TURN, END_OF_TURN)
VOCABULARY = 2048  # a message takes 19 tokens; with 1024 it took 29


def train_tokenizer(seed: int, vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Train the tokenizer on a sample of the corpus; `vocabulary`: its tokens, at most."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = [AddedToken(f" {name}", normalized=False) for name in [*elements(), *Season]]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(names),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(seed)
    sample = [
        *islice(terse_stream(rng), 500),
        *islice(short_stream(rng), 6000),
        *islice(rambling_stream(rng), 1500),
    ]
    roles = ["system\nuser\nassistant"] * 200
    texts = (
        roles + [SYSTEM_PROMPT] * 50 + [m["content"] for talk in sample for m in talk if m["content"] != SYSTEM_PROMPT]
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(names)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END_OF_TURN,
        additional_special_tokens=[START_OF_TURN],
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
