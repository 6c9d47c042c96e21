"""Networks at weights where outputs are of the order of one and differ from pixel to pixel."""

import torch
from torch import nn


def lively(network, size=(64, 64), channels=3):
    """Draw weights, and give batch norms the statistics of a forward pass; returns the network in evaluation mode.

    Without, a network of batch norms is all but constant, or overflows, before it is trained.
    """
    generator = torch.Generator().manual_seed(2)
    network.train()
    with torch.no_grad():
        for m in network.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.normal_(0, (2 / m.weight[0].numel()) ** 0.5, generator=generator)
            elif isinstance(m, nn.BatchNorm2d):
                m.weight.uniform_(0.5, 1.5, generator=generator)
                m.bias.normal_(0, 0.2, generator=generator)
                m.training, m.momentum_before, m.momentum = True, m.momentum, None  # frozen ones, too
        network(torch.randn(2, channels, *size, generator=generator))
        for m in network.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = m.momentum_before
                del m.momentum_before
    return network.eval()
