"""The compact voice network in torch: truncated Whisper encoder, masked pooling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 512
NUM_HEADS = 8
NUM_BLOCKS = 3
EMBEDDING_DIM = NUM_BLOCKS * 2 * WIDTH
MAX_POSITIONS = 500  # 10 s at 50 tokens a second
STD_FLOOR = 1e-5


class WindowedLinear(nn.Linear):
    """Convolution of width 3 written as a matrix product, so that int8 covers it too.

    Zero padding of one at both ends; input (B, T, C), output (B, ceil(T / stride), D).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(3 * in_channels, out_channels)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, 1, 1))
        taps = [padded[:, :-2], padded[:, 1:-1], padded[:, 2:]]
        return super().forward(torch.cat([tap[:, :: self.stride] for tap in taps], dim=2))


class Block(nn.Module):
    """Pre-norm transformer block of Whisper's encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.ffn_norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """``x`` (B, L, 512); ``bias`` (B, 1, 1, L): 0 on real tokens, very negative on padding."""
        x = x + self.out(self._attend(self.qkv(self.attention_norm(x)), bias))
        return x + self.down(F.gelu(self.up(self.ffn_norm(x))))

    @staticmethod
    def _attend(qkv: Tensor, bias: Tensor) -> Tensor:
        heads = qkv.unflatten(2, (3 * NUM_HEADS, -1)).transpose(1, 2)
        query, key, value = heads.split(NUM_HEADS, dim=1)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3) + bias
        return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


class VoiceNet(nn.Module):
    """mel (B, 80, T) and frames in use (B,) to an embedding (B, 3072).

    Whatever stands after the frames in use has no influence on the result. The embedding holds
    mean and standard deviation over time of every block's tokens: what lies deeper knows more of
    words, what lies higher up more of how they are said.
    """

    positions: Tensor

    def __init__(self, num_blocks: int = NUM_BLOCKS, max_positions: int = MAX_POSITIONS) -> None:
        super().__init__()
        self.conv1 = WindowedLinear(80, WIDTH, stride=1)
        self.conv2 = WindowedLinear(WIDTH, WIDTH, stride=2)
        self.blocks = nn.ModuleList(Block() for _ in range(num_blocks))
        self.register_buffer("positions", torch.zeros(max_positions, WIDTH))

    def load_whisper(self, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Copy encoder weights as :func:`recipes.whisper_base.encoder_weights` gives them."""
        state = {}
        for name, array in weights.items():
            tensor = torch.from_numpy(array.copy())
            if name == "positions":
                tensor = tensor[: len(self.positions)]
            elif name in ("conv1.weight", "conv2.weight"):
                tensor = tensor.permute(0, 2, 1).flatten(1)  # (out, in, tap) → (out, tap × in)
            state[name] = tensor
        self.load_state_dict(state)

    def forward(self, mel: Tensor, num_frames: Tensor) -> Tensor:
        frames = torch.arange(mel.shape[2], device=mel.device)
        real = (frames[None, :] < num_frames[:, None]).unsqueeze(2).to(mel.dtype)
        x = F.gelu(self.conv1(mel.transpose(1, 2) * real)) * real
        x = F.gelu(self.conv2(x))
        real = real[:, ::2]
        x = x + self.positions[: x.shape[1]]
        pooled = []
        for block in self.blocks:
            x = block(x, _attention_bias(real))
            pooled.append(_pool(x, real))
        return torch.cat(pooled, dim=1)


def _pool(x: Tensor, real: Tensor) -> Tensor:
    """Mean and standard deviation over the real tokens: (B, 1024)."""
    x = x.float()
    count = real.sum(dim=1)
    mean = (x * real).sum(dim=1) / count
    centred = (x - mean.unsqueeze(1)) * real
    std = ((centred * centred).sum(dim=1) / count + STD_FLOOR).sqrt()
    return torch.cat([mean, std], dim=1)


def _attention_bias(real: Tensor) -> Tensor:
    """Added to attention scores (B, 1, 1, L): padding gets no weight."""
    return ((real - 1.0) * 1e4).transpose(1, 2).unsqueeze(1)
