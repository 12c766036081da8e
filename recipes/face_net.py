"""The compact face network: a small residual net on grey crops, for emotions and blendshapes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDING_DIM = 256


class Block(nn.Module):
    """Two 3×3 convolutions with a shortcut; `stride` 2 halves the map."""

    def __init__(self, in_dim: int, out_dim: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_dim, out_dim, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(out_dim)
        self.second = nn.Conv2d(out_dim, out_dim, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(out_dim)
        nn.init.zeros_(self.second_norm.weight)  # every block starts as its shortcut
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_dim != out_dim:
            pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
            project = nn.Conv2d(in_dim, out_dim, 1, bias=False)
            self.shortcut = nn.Sequential(pool, project, nn.BatchNorm2d(out_dim))

    def forward(self, maps: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(maps)))
        return F.relu(self.second_norm(self.second(inner)) + self.shortcut(maps))


class FaceNet(nn.Module):
    """Grey crops float32 (B, 1, S, S) in 0..255 → embedding, logits and blendshapes.

    Embedding (B, 256), logits (B, num_classes), log-odds of the blendshapes (B, num_shapes).

    Each image is standardised inside the net, so callers hand in plain grey values.
    """

    def __init__(
        self,
        num_classes: int,
        num_shapes: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        in_dim = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for index in range(depth):
                blocks.append(Block(in_dim, width, 2 if stage and not index else 1))
                in_dim = width
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Sequential(
            nn.Linear(in_dim, EMBEDDING_DIM, bias=False), nn.BatchNorm1d(EMBEDDING_DIM), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(EMBEDDING_DIM, num_classes)
        self.shape = nn.Linear(EMBEDDING_DIM, num_shapes)

    def maps(self, grey: Tensor) -> Tensor:
        """What the last block sees where, (B, C, H, W), of crops as `forward` takes them."""
        centred = grey - grey.mean(dim=(2, 3), keepdim=True)
        power = (centred * centred).mean(dim=(2, 3), keepdim=True)
        maps: Tensor = self.blocks(self.stem(centred * torch.rsqrt(power + 16.0)))
        return maps

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embedding = self.project(self.maps(grey).mean(dim=(2, 3)))
        return embedding, self.classify(self.dropout(embedding)), self.shape(embedding)


def count_macs(net: nn.Module, side_px: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one crop."""
    total = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        weight = layer.get_parameter("weight")
        total += output[0].numel() * weight[0].numel()

    layers = [part for part in net.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    was_training = net.training
    net.eval()
    with torch.no_grad():
        net(torch.zeros(1, 1, side_px, side_px))
    net.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
