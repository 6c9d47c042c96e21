import torch

from nnunet_ext.inference.log_odds import log_odds


def test_softmax_log_odds_are_those_of_the_probability():
    logits = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    p = logits.softmax(1)
    for output in range(4):
        expected = torch.log(p[:, output] / (1 - p[:, output]))
        torch.testing.assert_close(log_odds(logits, output, sigmoid=False), expected)
        torch.testing.assert_close(log_odds(logits + 7, output, sigmoid=False), expected)


def test_sigmoid_log_odds_are_the_logit():
    logits = torch.randn(2, 3, 4)
    assert torch.equal(log_odds(logits, 2, sigmoid=True), logits[:, 2])
