"""The similarity of messages by sacrebleu's chrF: it compares characters, so Korean word endings count for little."""

import random
from collections.abc import Sequence

SAMPLE = 200  # messages; each is compared with all others in the sample


def self_chrf(texts: Sequence[str], seed: int = 1) -> float:
    """Return the mean chrF (0…100) of sampled messages, each against its most similar other; lower is more varied.

    Source: chrF as in Popović 2015, as sacrebleu computes it; its multi-reference score is the best reference's.
    """
    from sacrebleu.metrics.chrf import CHRF

    written = [text for text in texts if text]
    sample = random.Random(seed).sample(written, min(SAMPLE, len(written)))
    if len(sample) < 2:
        return 0.0
    metric = CHRF()
    scores = [
        metric.sentence_score(text, sample[:index] + sample[index + 1 :]).score for index, text in enumerate(sample)
    ]
    return float(sum(scores) / len(scores))
