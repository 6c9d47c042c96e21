"""Object-contextual representations: each pixel is described by the classes that it resembles.

Segmentation Transformer: Object-Contextual Representations for Semantic Segmentation (Y. Yuan, X. Chen, J. Wang; ECCV
2020), Section 3. Code: github.com/HRNet/HRNet-Semantic-Segmentation, branch HRNet-OCR (MIT; read, not copied), whose
parameter names these are.

A first, auxiliary class map M says where each class is. Its softmax over the *pixels* weights the mean of their
features, one vector for each class (`SpatialGather`). Each pixel then attends to these vectors (`ObjectAttention`).

Where we differ: the weighted mean is computed in float32 whatever autocast says. The weights of a map of 128 x 256
pixels are about 3e-5, below the normal numbers of float16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnunet_ext.architectures.precision import without_autocast
from nnunet_ext.architectures.published.hrnet_parts import Norm

WIDTH, KEYS, DROPOUT = 512, 256, 0.05


def _layers(inputs: int, outputs: int, norm: Norm) -> list[nn.Module]:
    """1x1 convolution without bias, then norm and ReLU as one part, as the authors name them."""
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.Sequential(norm(outputs), nn.ReLU())]


class SpatialGather(nn.Module):
    """Features and a class map -> one vector for each class: the mean of the features, weighted over the pixels."""

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """`(B, C, H, W)` and `(B, K, H, W)` -> `(B, C, K, 1)` float32."""
        with without_autocast(features.device.type):
            weights = torch.softmax(logits.float().flatten(2), 2)
            return (features.float().flatten(2) @ weights.transpose(1, 2)).unsqueeze(3)


class ObjectAttention(nn.Module):
    """Each pixel's mixture of the class vectors, by their resemblance.

    Args:
        channels: C, of pixels and of class vectors.
        keys: channels in which they are compared.
        norm: makes the batch norm of so many channels.
    """

    def __init__(self, channels: int, keys: int, norm: Norm) -> None:
        super().__init__()
        self.f_pixel = nn.Sequential(*_layers(channels, keys, norm), *_layers(keys, keys, norm))
        self.f_object = nn.Sequential(*_layers(channels, keys, norm), *_layers(keys, keys, norm))
        self.f_down = nn.Sequential(*_layers(channels, keys, norm))
        self.f_up = nn.Sequential(*_layers(keys, channels, norm))

    def forward(self, features: Tensor, objects: Tensor) -> Tensor:
        """`(B, C, H, W)` and `(B, C, K, 1)` -> `(B, C, H, W)`."""
        key = self.f_object(objects).flatten(2)  # (B, keys, K)
        query = self.f_pixel(features).flatten(2).transpose(1, 2) * key.shape[1] ** -0.5  # (B, HW, keys)
        value = self.f_down(objects).flatten(2)
        weights = torch.softmax(query @ key, 2)  # (B, HW, K)
        context = value @ weights.transpose(1, 2).to(value.dtype)
        return self.f_up(context.unflatten(2, features.shape[2:]))


class SpatialOCR(nn.Module):
    """Pixels beside their object context, mixed by a convolution.

    Args:
        channels: C, in and out.
        keys: as for `ObjectAttention`.
        norm: makes the batch norm of so many channels.
    """

    def __init__(self, channels: int, keys: int, norm: Norm) -> None:
        super().__init__()
        self.object_context_block = ObjectAttention(channels, keys, norm)
        self.conv_bn_dropout = nn.Sequential(*_layers(2 * channels, channels, norm), nn.Dropout2d(DROPOUT))

    def forward(self, features: Tensor, objects: Tensor) -> Tensor:
        """`(B, C, H, W)` and `(B, C, K, 1)` -> `(B, C, H, W)`."""
        context = self.object_context_block(features, objects)
        return self.conv_bn_dropout(torch.cat([context, features], 1))


def ocr_input(channels: int, norm: Norm) -> nn.Sequential:
    """Build `conv3x3_ocr`, which makes the pixels' features."""
    return nn.Sequential(nn.Conv2d(channels, WIDTH, 3, padding=1), norm(WIDTH), nn.ReLU(inplace=True))
