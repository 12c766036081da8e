"""Two small networks that make the same curves of a mouth and of its sound, and how they learn to.

Of a batch of films, each mouth has to find its own sound among all the others and among its own
half a second and more too early or too late, and each sound its mouth: contrastive learning as in
J. S. Chung and A. Zisserman, "Out of time: automated lip sync in the wild", ACCV Workshops 2016,
but on correlations over time, so that no curve's mean, hence nobody's looks or voice, can help.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from recipes.speaker_data import Film
from torch import Tensor, nn
from torch.nn import functional as F

from facevoice.people.speaker import (
    NUM_BANDS,
    band_power,
    relative_loudness,
    sound_times,
    steady,
)
from facevoice.records import DoubleArray, FloatArray

NUM_CURVES = 16
_WIDTH = 48
_LENGTHS = (45, 60, 75, 90, 105)  # frames that are compared at once
_SHIFTS = (-33, -26, -20, 20, 26, 33)  # frames by which sound is out of time
_BATCH = 32


class Eye(nn.Module):
    """Mouths (B, T, 480), as `normalize_mouth` gives them, to curves (B, 16, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Linear(480, _WIDTH)
        self.layers = nn.Sequential(
            nn.Conv1d(_WIDTH, _WIDTH, 5, padding=2),
            nn.BatchNorm1d(_WIDTH),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(_WIDTH, _WIDTH, 5, padding=2),
            nn.BatchNorm1d(_WIDTH),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(_WIDTH, NUM_CURVES, 3, padding=1),
        )
        self.blind = nn.Dropout(0.1)

    def forward(self, mouths: Tensor) -> Tensor:
        """See the class."""
        return self.layers(self.look(self.blind(mouths)).transpose(1, 2))


class Ear(nn.Module):
    """Bands (B, 24, 2T), as `sound_bands` gives them, to curves (B, 16, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(NUM_BANDS, _WIDTH, 6, stride=2, padding=2),
            nn.BatchNorm1d(_WIDTH),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(_WIDTH, _WIDTH, 5, padding=2),
            nn.BatchNorm1d(_WIDTH),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(_WIDTH, NUM_CURVES, 3, padding=1),
        )

    def forward(self, bands: Tensor) -> Tensor:
        """See the class."""
        return self.layers(bands)


class Both(nn.Module):
    """What is put into the package: one mouth (T, 480) and its sound (2T, 24) at once."""

    def __init__(self, eye: Eye, ear: Ear) -> None:
        super().__init__()
        self.eye, self.ear = eye, ear

    def forward(self, looks: Tensor, bands: Tensor) -> tuple[Tensor, Tensor]:
        """Curves seen and heard, (16, T) each."""
        return self.eye(looks[None])[0], self.ear(bands.T[None])[0]


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """A film on the grid of 30 pictures a second: pixels (T, 20, 24), power (2T, 24)."""

    pixels: FloatArray
    power: FloatArray


def _lesson(film: Film) -> _Lesson:
    times_s, pixels = steady(film.mouth, 0.0, np.inf)
    halved = pixels.reshape(-1, 20, 2, 24, 2).mean((2, 4))
    return _Lesson(halved, band_power(film.samples, sound_times(times_s)))


def train(films: Sequence[Film], num_steps: int, seed: int = 0) -> Both:
    """Networks that learnt from films, in evaluation mode; the same for the same films."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    lessons = [_lesson(film) for film in films]
    eye, ear, sharpness = Eye(), Ear(), nn.Parameter(torch.tensor(2.3))
    weights = [*eye.parameters(), *ear.parameters(), sharpness]
    optimizer = torch.optim.AdamW(weights, 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=num_steps)
    for step in range(num_steps):
        chosen = rng.choice(len(lessons), min(_BATCH, len(lessons)), replace=False)
        length = int(rng.choice(_LENGTHS))
        cuts = [_cut(lessons[place], length, rng) for place in chosen]
        looks = _normalize(_spoil_pictures(torch.stack([look for look, _ in cuts]), rng))
        seen, heard = eye(looks), ear(torch.stack([bands for _, bands in cuts]))
        loss = _loss(seen, heard, sharpness.exp())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {num_steps}: loss {loss.item():.3f}", flush=True)
    return Both(eye, ear).eval()


def _loss(seen: Tensor, heard: Tensor, sharpness: Tensor) -> Tensor:
    near = torch.stack([_all_pairs(seen, heard, lag) for lag in (-1, 0, 1)])
    alike = torch.logsumexp(sharpness * near, 0)
    late = torch.stack([_own_pairs(seen, heard, lag) for lag in _SHIFTS], 1) * sharpness
    own = torch.arange(len(seen))
    to_sound = F.cross_entropy(torch.cat([alike, late], 1), own)
    return to_sound + F.cross_entropy(torch.cat([alike.T, late], 1), own)


def _units(seen: Tensor, heard: Tensor, lag: int) -> tuple[Tensor, Tensor]:
    """Curves that overlap at a lag, without their means, as vectors (B, …) of length 1."""
    size = seen.shape[2] - abs(lag)
    parts = seen[:, :, max(0, -lag) :][:, :, :size], heard[:, :, max(0, lag) :][:, :, :size]
    a, b = ((x - x.mean(2, keepdim=True)).flatten(1) for x in parts)
    return F.normalize(a, dim=1, eps=1e-3), F.normalize(b, dim=1, eps=1e-3)


def _all_pairs(seen: Tensor, heard: Tensor, lag: int) -> Tensor:
    a, b = _units(seen, heard, lag)
    return a @ b.T


def _own_pairs(seen: Tensor, heard: Tensor, lag: int) -> Tensor:
    a, b = _units(seen, heard, lag)
    return (a * b).sum(1)


def _cut(lesson: _Lesson, length: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (length, 20, 24) and spoilt bands (24, 2 · length) of a random stretch.

    Where the film is shorter, its last picture and sound stand on.
    """
    first = int(rng.integers(0, max(1, len(lesson.pixels) - length + 1)))
    places = np.minimum(np.arange(first, first + length), len(lesson.pixels) - 1)
    power = lesson.power[(2 * places[:, None] + (0, 1)).ravel()]
    return torch.tensor(lesson.pixels[places]), torch.tensor(_spoil_sound(power, rng).T)


def _spoil_sound(power: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Bands of the sound through some equaliser, mostly with some noise."""
    tilt_db = np.cumsum(rng.normal(size=NUM_BANDS))
    power = power / (power.max() + 1e-12) * 10 ** ((tilt_db - tilt_db.mean()) / 10)
    if rng.random() < 0.7:
        colour = np.exp(np.cumsum(rng.normal(size=NUM_BANDS) * 0.3))
        level = 10 ** rng.uniform(-5, -1.5) * power.max()
        power = power + level * colour * rng.exponential(size=power.shape)
    return relative_loudness(power)


def _spoil_pictures(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Each film (B, T, 20, 24) turned, scaled, shifted, perhaps mirrored; noise, flicker, gamma."""
    size = len(pictures)
    turn, across, down = rng.normal(size=(3, size)) * 0.08
    wide, tall = np.exp(across) * rng.choice([-1, 1], size), np.exp(down)
    x, y = rng.normal(size=(2, size)) * 0.07
    rows = [
        [wide * np.cos(turn), -tall * np.sin(turn), x],
        [wide * np.sin(turn), tall * np.cos(turn), y],
    ]
    moves = torch.tensor(np.array(rows).transpose(2, 0, 1), dtype=torch.float32)
    grid = F.affine_grid(moves, [size, 1, *pictures.shape[2:]], align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)

    def each(values: DoubleArray) -> Tensor:
        return torch.tensor(values, dtype=torch.float32)[:, None, None, None]

    flicker = torch.randn(*pictures.shape[:2], 1, 1) * each(rng.exponential(1.0, size))
    noise = torch.randn_like(moved) * each(rng.exponential(1.5, size))
    gamma = each(np.exp(rng.normal(size=size) * 0.3))
    return 255 * ((moved + flicker + noise).clamp(0, 255) / 255) ** gamma


def _normalize(pictures: Tensor) -> Tensor:
    """As `normalize_mouth`, of halved pictures (B, T, 20, 24): (B, T, 480)."""
    mean = pictures.mean((1, 2, 3), keepdim=True)
    spread = pictures.std((1, 2, 3), correction=0, keepdim=True)
    return ((pictures - mean) / (spread + 1)).flatten(2)


def export(both: Both, line: DoubleArray) -> bytes:
    """As an ONNX file; `line`: weights of the evidence, the bias last."""
    file = io.BytesIO()
    torch.onnx.export(
        both,
        (torch.randn(60, 480), torch.rand(120, NUM_BANDS)),
        file,
        dynamo=False,
        opset_version=17,
        input_names=["looks", "bands"],
        output_names=["seen", "heard"],
        dynamic_axes={
            "looks": {0: "frames"},
            "bands": {0: "moments"},
            "seen": {1: "frames"},
            "heard": {1: "frames"},
        },
    )
    return set_line(file.getvalue(), line)


def set_line(network: bytes, line: DoubleArray) -> bytes:
    """The same networks with another line."""
    model = onnx.load_from_string(network)
    onnx.helper.set_model_props(model, {"line": json.dumps(line.tolist())})
    return model.SerializeToString()
