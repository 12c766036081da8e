"""What the face network learns from votes, and going on from an exported network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from recipes.face import export
from recipes.face_data import EMOTIONS, FOLDERS, Splits, augment, make_splits, mix_targets
from recipes.face_net import FaceNet
from recipes.face_start import conv_layers, read_exported
from recipes.face_train import Recipe, fit

from facevoice.corpora.fer2013 import FerPlusVotes

NEUTRAL, HAPPY, SAD = 0, 1, 2
NUM_PICTURES = 4  # a folder


def test_split_votes_give_the_own_label_a_say() -> None:
    counts = np.zeros((4, 7), dtype=np.int64)
    counts[0, NEUTRAL] = 10
    counts[1, [NEUTRAL, SAD]] = 5
    counts[2, [NEUTRAL, SAD]] = 6, 4
    counts[3, SAD] = 3
    others = np.zeros((4, 3), dtype=np.int64)
    others[3, 0] = 7  # contempt
    votes = FerPlusVotes(("a", "b", "c", "d"), ("train",) * 4, counts, others)
    targets = mix_targets(votes, np.array([SAD, SAD, HAPPY, SAD]))
    expected = np.zeros((4, 7))
    expected[0, NEUTRAL] = 1  # all agree: the own label says nothing
    expected[1, [NEUTRAL, SAD]] = 0.25, 0.75  # they are even: it says half
    expected[2, [NEUTRAL, SAD]] = 0.6, 0.4  # nobody saw it: it says nothing
    np.testing.assert_allclose(targets, expected)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A few pictures of noise in FER2013's folders."""
    rng = np.random.default_rng(0)
    for part, prefix in (("train", "Training"), ("test", "PublicTest")):
        for folder in FOLDERS.values():
            (tmp_path / part / folder).mkdir(parents=True)
            for number in range(NUM_PICTURES):
                grey = rng.integers(0, 255, (12, 12), dtype=np.uint8)
                picture = Image.fromarray(grey).resize((48, 48))
                picture.save(tmp_path / part / folder / f"{prefix}_{number}.jpg")
    return tmp_path


def vote(pictures: Path, left_out: str) -> FerPlusVotes:
    """All see what the folder says; of pictures with this number, that there is no face."""
    rows = []
    for path in sorted(pictures.glob("t*/*/*.jpg")):
        split = "train" if path.parts[-3] == "train" else "public_test"
        place = list(FOLDERS.values()).index(path.parent.name)
        no_face = path.stem == left_out
        counts, others = [0] * 7, [0, 0, 10 if no_face else 0]
        counts[place] = 0 if no_face else 10
        rows.append((f"fer2013/{path.parent.name}/{path.stem}", split, counts, others))
    ids, splits, counted, aside = zip(*rows, strict=True)
    return FerPlusVotes(ids, splits, np.array(counted), np.array(aside))


def split(pictures: Path, votes: FerPlusVotes | None = None) -> Splits:
    return make_splits(pictures, votes=votes, validation_share=0.25)


def test_votes_leave_pictures_out_of_training_only(pictures: Path) -> None:
    plain, voted = split(pictures), split(pictures, vote(pictures, "Training_1"))
    assert voted.num_left_out > 0
    assert len(voted.train.labels) == len(plain.train.labels) - voted.num_left_out
    assert torch.equal(voted.validation.images, plain.validation.images)
    assert (voted.train.targets.sum(dim=1) == 1).all()
    assert torch.equal(voted.test.majority, voted.test.labels)
    assert (plain.test.majority == -1).all()
    assert torch.equal(plain.train.targets.argmax(dim=1), plain.train.labels)


def test_training_goes_on_from_an_exported_network(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = Recipe(epochs=1, batch=7)
    net = FaceNet(len(EMOTIONS), 31, recipe.widths, recipe.depths)
    with torch.no_grad():
        for _, norm in conv_layers(net):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-1, 1)
            norm.running_mean.uniform_(-1, 1)
    path = tmp_path / "face.onnx"
    export(net.eval(), recipe.side_px, path)
    splits = split(pictures, vote(pictures, "Training_1"))
    read = read_exported(path, splits.train.images)
    crops = splits.test.images.float()
    with torch.no_grad():
        expected, found = net(crops), read(crops)
        # The file's weights are rounded to codes.
        for known, value in zip(expected[:2], found[:2], strict=True):
            assert (known - value).abs().max() < 0.05 * known.abs().max() + 0.01
        # A batch normed by itself, as in training, gives about the maps that the network has.
        views = augment(splits.train.images.repeat(10, 1, 1, 1), recipe.side_px)
        whole, by_itself = read.maps(views).flatten(), read.train().maps(views).flatten()
    assert torch.corrcoef(torch.stack([whole, by_itself]))[0, 1] > 0.9
    said: list[str] = []
    fit(recipe, splits, tmp_path, said.append, lambda *_: None, read)
    assert len(said) == 1
    assert "validation accuracy" in said[0]
