"""FER2013 as tensors: unpacking, splitting without leaks, and augmentation of whole batches.

Where FER+ votes are given, they say what to learn: see :func:`mix_targets`.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from facevoice.corpora.fer2013 import FERPLUS_TABLE, Fer2013, FerPlusVotes, read_ferplus

# Order of the network's logits, and the folder that FER2013 keeps each emotion in.
FOLDERS = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fearful": "fear",
    "disgust": "disgust",
    "surprised": "surprise",
}
EMOTIONS = tuple(FOLDERS)
NUM_SHAPES = 31  # as `recipes.face_shapes` names them
SIDE_PX = 48
THUMB_PX = 16
# Two thumbnails that correlate more than this show the same photograph.
DUPLICATE_CORRELATION = 0.985
FLAT_STD = 4.0  # grey levels; an image with less is blank


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Grey faces `images` uint8 (n, 1, 48, 48) with `labels` int64 (n,), indices into EMOTIONS.

    targets: float32 (n, 7), what to learn: each emotion's share; zeros where the votes leave the
    picture out;
    shapes: float32 (n, NUM_SHAPES), blendshapes in 0–1; NaN where they are not known;
    majority: int64 (n,), what most voters saw, -1 for ties and the left out; all -1 without votes;
    is_clear: bool (n,), of :class:`FerPlusVotes`.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor
    shapes: Tensor
    majority: Tensor
    is_clear: Tensor

    def take(self, keep: Tensor) -> Faces:
        """Faces at the indices, or under the mask, `keep`."""
        return Faces(*(getattr(self, field.name)[keep] for field in fields(self)))

    @property
    def wanted(self) -> Tensor:
        """Labels (n,) that a score is kept by while training: by the votes where there are any."""
        return self.majority if bool((self.majority >= 0).any()) else self.labels


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Training, validation (chosen on) and public test (only scored) parts.

    num_left_out: training pictures in which voters saw contempt, no emotion they knew, or no face.
    """

    train: Faces
    validation: Faces
    test: Faces
    num_blank: int
    num_leaking: int
    num_left_out: int


def unpack(corpora: Path, work: Path) -> Path:
    """Unpack `corpora/fer2013.zip` under `work` unless that was done; give the folder."""
    folder = work / "fer2013"
    if not (folder / "train").is_dir():
        with zipfile.ZipFile(corpora / "fer2013.zip") as archive:
            archive.extractall(folder)
    return folder


def read_votes(corpora: Path, work: Path) -> FerPlusVotes:
    """FER+'s table out of `corpora/ferplus.zip`."""
    with zipfile.ZipFile(corpora / "ferplus.zip") as archive:
        return read_ferplus(Path(archive.extract(FERPLUS_TABLE.name, work)))


def mix_targets(votes: FerPlusVotes, labels: np.ndarray) -> np.ndarray:
    """What to learn (n, 7): the votes' shares, and FER2013's own label where voters were split.

    The own label (n,) has a say of one minus the leading share: none where all voters agreed, a
    half where two emotions were even. So it breaks ties, and where people saw fear and surprise at
    once, or a sadness that looks neutral, keeps what the picture was searched and filed for: these
    are rare among majorities. It has no say where no voter saw it, since FER2013 is often wrong.
    Zeros for pictures whose votes went to contempt, "unknown" or "not a face".
    """
    shares = votes.soft_labels
    own = np.eye(len(EMOTIONS))[labels]
    seen = (shares * own).sum(axis=1, keepdims=True) > 0
    say = np.where(seen, 1 - shares.max(axis=1, keepdims=True), 0.0)
    mixed = (1 - say) * shares + say * own
    return np.where(votes.is_left_out[:, None], 0.0, mixed)


def read_part(folder: Path, shapes: Path | None = None, votes: FerPlusVotes | None = None) -> Faces:
    """Read every `<emotion>/*.jpg` under `folder`, in sorted order.

    shapes: what `recipes.face_shapes` wrote of the same folder; votes: of these pictures and maybe
    more.
    """
    images, labels, names = [], [], []
    for index, name in enumerate(FOLDERS.values()):
        for path in sorted((folder / name).glob("*.jpg")):
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("L")))
            labels.append(index)
            names.append(f"{Fer2013.info.name}/{name}/{path.stem}")
    if not images:
        raise FileNotFoundError(f"no FER2013 images under {folder}")
    known = torch.full((len(labels), NUM_SHAPES), torch.nan)
    if shapes is not None:
        with np.load(shapes, allow_pickle=False) as table:
            seen = torch.from_numpy(table["presence"] > 0)
            known = torch.where(seen[:, None], torch.from_numpy(table["shapes"]), known)
    pictures, own = torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels)
    if votes is None:
        nobody = torch.full_like(own, -1)
        return Faces(pictures, own, F.one_hot(own, len(EMOTIONS)).float(), known, nobody, own < 0)
    voted = votes.take(names)
    return Faces(
        pictures,
        own,
        torch.from_numpy(mix_targets(voted, own.numpy())).float(),
        known,
        torch.from_numpy(voted.majority),
        torch.from_numpy(voted.is_clear),
    )


def make_splits(
    folder: Path,
    shapes: Path | None = None,
    votes: FerPlusVotes | None = None,
    validation_share: float = 0.06,
    seed: int = 0,
) -> Splits:
    """Hold out part of the training images, and drop those that leak into what is scored.

    What is held out is drawn by FER2013's labels, so votes don't change it; pictures that the votes
    leave out are only left out of training.
    """
    pool = read_part(folder / "train", shapes, votes)
    test = read_part(folder / "test", votes=votes)
    sharp = pool.images.float().std(dim=(1, 2, 3)) >= FLAT_STD
    num_blank = int((~sharp).sum())
    pool = pool.take(sharp)
    held = torch.zeros(len(pool.labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for index in range(len(EMOTIONS)):
        members = torch.nonzero(pool.labels == index)[:, 0]
        order = torch.randperm(len(members), generator=generator)
        held[members[order[: round(validation_share * len(members))]]] = True
    validation, train = pool.take(held), pool.take(~held)
    leaking = is_duplicate(train.images, torch.cat([validation.images, test.images]))
    in_test = is_duplicate(validation.images, test.images)
    usable = train.targets.sum(dim=1) > 0
    return Splits(
        train.take(~leaking & usable),
        validation.take(~in_test),
        test,
        num_blank,
        int(leaking.sum()) + int(in_test.sum()),
        int((~leaking & ~usable).sum()),
    )


def is_duplicate(images: Tensor, others: Tensor) -> Tensor:
    """Mask (n,) of the images that `others` holds too, mirrored or not, up to compression."""
    known = _thumbnails(torch.cat([others, others.flip(-1)]))
    found = [(part @ known.T).amax(dim=1) for part in _thumbnails(images).split(1024)]
    return torch.cat(found) > DUPLICATE_CORRELATION


def _thumbnails(images: Tensor) -> Tensor:
    """Standardised thumbnails (n, 256) of unit length, so that a product is a correlation."""
    small = F.adaptive_avg_pool2d(images.float(), THUMB_PX).flatten(1)
    return F.normalize(small - small.mean(dim=1, keepdim=True))


def augment(images: Tensor, side_px: int, strength: float = 1.0) -> Tensor:
    """Random views (B, 1, side_px, side_px) float32 in 0..255 of uint8 faces (B, 1, S, S).

    The ranges cover how crops of real video differ from FER2013: framing, tilt, light,
    softness, compression and things in front of the face. `strength` scales ranges and shares.
    """
    views = _warp(images.float(), side_px, strength)
    views = _relight(views, strength)
    share = 0.15 * strength
    views = _where(share, views, _soften(views))
    views = _where(share, views, _compress(views))
    views = _where(share, views, views + torch.randn_like(views) * _uniform(views, 2.0, 14.0))
    return _erase(views, share).clamp(0.0, 255.0)


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    """One random number for each image, shaped (B, 1, 1, 1)."""
    return torch.empty(len(like), 1, 1, 1).uniform_(low, high)


def _where(probability: float, plain: Tensor, changed: Tensor) -> Tensor:
    return torch.where(torch.rand(len(plain), 1, 1, 1) < probability, changed, plain)


def _warp(images: Tensor, side_px: int, strength: float) -> Tensor:
    """Mirror, turn by 15 degrees, scale by 17 %, stretch by 6 %, shift by 10 %, resize."""
    count = len(images)
    angle = torch.empty(count).uniform_(-1, 1) * math.radians(15 * strength)
    scale = torch.exp(torch.empty(count).uniform_(-0.16, 0.16) * strength)
    stretch = torch.exp(torch.empty(count).uniform_(-0.06, 0.06) * strength)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    shift = torch.empty(count, 2).uniform_(-0.2, 0.2) * strength  # in half widths
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [
        torch.stack([mirror * cos * stretch, -mirror * sin, shift[:, 0]], dim=1),
        torch.stack([sin, cos / stretch, shift[:, 1]], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), [count, 1, side_px, side_px], False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _relight(views: Tensor, strength: float) -> Tensor:
    """Gamma, light from one side, contrast and brightness (which clip at black and white)."""
    side_px = views.shape[-1]
    ramp = torch.linspace(-1, 1, side_px)
    across, down = ramp.view(1, 1, 1, -1), ramp.view(1, 1, -1, 1)
    tilt, shade = 0.3 * strength, 0.15 * strength
    gamma = torch.exp(_uniform(views, -0.5, 0.5) * strength)
    lit = (views.clamp(0, 255) / 255.0) ** gamma
    lit = lit * (1 + _uniform(views, -tilt, tilt) * across + _uniform(views, -tilt, tilt) * down)
    contrast = torch.exp(_uniform(views, -tilt, tilt))
    return (((lit - 0.5) * contrast + 0.5 + _uniform(views, -shade, shade)) * 255).clamp(0, 255)


def _soften(views: Tensor) -> Tensor:
    """Lose detail by scaling down and up again."""
    side_px = views.shape[-1]
    small_px = int(torch.randint(round(side_px * 0.4), round(side_px * 0.8), ()))
    small = F.interpolate(views, small_px, mode="bilinear", antialias=True)
    return F.interpolate(small, side_px, mode="bilinear")


def _compress(views: Tensor) -> Tensor:
    """Quantise the cosine transform of blocks of 8×8, coarser for fine detail, as JPEG does."""
    count, _, side_px, _ = views.shape
    step = torch.arange(8.0)
    basis = torch.cos(math.pi / 8 * (step[None, :] + 0.5) * step[:, None]) / 2.0
    basis[0] /= math.sqrt(2.0)
    blocks = views.view(count, 1, side_px // 8, 8, side_px // 8, 8).transpose(3, 4)
    spectrum = basis @ blocks @ basis.T
    coarse = (1 + step[None, :] + step[:, None]) * _uniform(views, 2.0, 10.0)[..., None, None]
    restored = basis.T @ (torch.round(spectrum / coarse) * coarse) @ basis
    return restored.transpose(3, 4).reshape(views.shape)


def _erase(views: Tensor, probability: float) -> Tensor:
    """Cover a random rectangle of up to half the side with an even grey."""
    side_px = views.shape[-1]
    place = torch.arange(side_px)

    def inside() -> Tensor:
        start = torch.empty(len(views), 1).uniform_(-0.1, 0.9) * side_px
        length = torch.empty_like(start).uniform_(0.1, 0.45) * side_px
        return (place >= start) & (place < start + length)

    hidden = inside()[:, None, :, None] & inside()[:, None, None, :]
    covered = torch.where(hidden, _uniform(views, 0.0, 255.0), views)
    return _where(probability, views, covered)
