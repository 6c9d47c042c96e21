"""How strongly a network speaks for one class, whatever its outputs are."""

from __future__ import annotations

import torch
from torch import Tensor


def log_odds(logits: Tensor, output: int, sigmoid: bool) -> Tensor:
    """Return log(p / (1 - p)) of one output's probability p.

    The logit of a softmax alone says nothing, since a number added to all of them changes no probability; the log-odds
    do, and for sigmoids they are the logit.

    Args:
        logits: `(B, K, *S)`, K of at least 2 for softmax.
        output: index of the output.
        sigmoid: whether every output is a sigmoid of its own (regions), not one softmax (labels).

    Returns:
        `(B, *S)`.
    """
    if sigmoid:
        return logits[:, output]
    others = torch.cat([logits[:, :output], logits[:, output + 1 :]], 1)
    return logits[:, output] - torch.logsumexp(others, 1)
