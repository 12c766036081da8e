"""The compact face network from FER2013 to ONNX: `train`, `score` and `export`.

    python -m recipes.face train --corpora CORPORA --work WORK
    python -m recipes.face score --corpora CORPORA --work WORK
    python -m recipes.face export --work WORK

`CORPORA` (or the variable FACEVOICE_CORPORA) holds fer2013.zip and, unless `--targets labels` is
given, ferplus.zip; everything made goes to `WORK`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from recipes.face_data import EMOTIONS, Faces, Splits, make_splits, read_votes, unpack
from recipes.face_net import FaceNet, count_macs
from recipes.face_start import read_exported
from recipes.face_train import Recipe, classify, figures_of, fit, load, save
from recipes.weight_codes import encode_weights
from torch import nn

OPSET = 17
MOST_ROUNDING, MOST_CODING = 1e-3, 0.5


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=["train", "score", "export"])
    corpora = os.environ.get("FACEVOICE_CORPORA")
    parser.add_argument("--corpora", type=Path, default=Path(corpora) if corpora else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--data", type=Path, help="FER2013 already unpacked, instead of the zip")
    parser.add_argument("--targets", choices=["votes", "labels"], default="votes")
    parser.add_argument("--epochs", type=float, default=Recipe().epochs)
    parser.add_argument("--budget-min", type=float, default=0.0, help="train by the clock")
    parser.add_argument("--peak-rate", type=float, default=Recipe().peak_rate)
    parser.add_argument("--mixup-share", type=float, default=Recipe().mixup_share)
    parser.add_argument("--strength", type=float, default=1.0, help="of the augmentation")
    parser.add_argument("--shapes", type=Path, help="blendshapes, from recipes.face_shapes")
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU that has it")
    parser.add_argument("--smoothing", type=float, default=Recipe().smoothing)
    parser.add_argument("--balance", type=float, default=Recipe().balance)
    parser.add_argument(
        "--start", type=Path, help="checkpoint or exported network to go on from, full-size views"
    )
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--export-every", type=int, default=3, help="epochs between exports")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    commands = {"train": run_train, "score": run_score, "export": run_export}
    commands[arguments.command](arguments)


def read_splits(arguments: argparse.Namespace) -> Splits:
    """FER2013 from the folder or the zip that the arguments name."""
    with_votes = arguments.targets == "votes"
    if arguments.corpora is None and (with_votes or arguments.data is None):
        raise SystemExit("give --corpora or FACEVOICE_CORPORA (or --data and --targets labels)")
    splits = make_splits(
        arguments.data or unpack(arguments.corpora, arguments.work),
        arguments.shapes,
        read_votes(arguments.corpora, arguments.work) if with_votes else None,
    )
    print(
        f"train {len(splits.train.labels)} validation {len(splits.validation.labels)} "
        f"test {len(splits.test.labels)}; dropped {splits.num_blank} blank and "
        f"{splits.num_leaking} that show an image of validation or test, "
        f"{splits.num_left_out} left out by the votes",
        flush=True,
    )
    return splits


def run_train(arguments: argparse.Namespace) -> None:
    """Train, exporting on the way, and leave the averaged net as `final.pt` and `face.onnx`."""
    recipe = Recipe(
        epochs=arguments.epochs,
        budget_min=arguments.budget_min,
        peak_rate=arguments.peak_rate,
        seed=arguments.seed,
        mixup_share=arguments.mixup_share,
        strength=arguments.strength,
        smoothing=arguments.smoothing,
        balance=arguments.balance,
        bfloat16=arguments.bfloat16,
    )
    splits = read_splits(arguments)
    start = None
    if arguments.start is not None:
        if arguments.start.suffix == ".onnx":
            start, old = read_exported(arguments.start, splits.train.images[::20]), recipe
        else:
            start, old = load(arguments.start)
        whole = ((1.0, old.side_px),)
        recipe = replace(recipe, widths=old.widths, depths=old.depths, growth=whole)

    def keep(net: FaceNet, epoch: int) -> None:
        if epoch % arguments.export_every == 0:
            save(net, recipe, arguments.work / f"epoch{epoch:03d}.pt")
            export(net, recipe.side_px, arguments.work / "face.onnx")

    net = fit(recipe, splits, arguments.work, lambda line: print(line, flush=True), keep, start)
    save(net, recipe, arguments.work / "final.pt")
    export(net, recipe.side_px, arguments.work / "face.onnx")


def run_score(arguments: argparse.Namespace) -> None:
    """Write `figures.json`: accuracy and recalls on both held-out parts, size and cost."""
    net, recipe = load(arguments.work / "final.pt")
    path = arguments.work / "face.onnx"
    splits = read_splits(arguments)
    parts = {"validation": splits.validation, "public_test": splits.test}
    figures: dict[str, object] = {
        "emotions": EMOTIONS,
        "recipe": asdict(recipe),
        "num_train": len(splits.train.labels),
        "num_dropped_blank": splits.num_blank,
        "num_dropped_leaking": splits.num_leaking,
        "num_left_out_by_votes": splits.num_left_out,
        "num_parameters": sum(p.numel() for p in net.parameters()),
        "mmacs": count_macs(net, recipe.side_px) / 1e6,
        "ms_per_crop": time_onnx(path, recipe.side_px),
    }
    for name, part in parts.items():
        figures[name] = score(classify(net, part, recipe.side_px), part)
        figures[f"{name}_flip"] = score(classify(net, part, recipe.side_px, flip=True), part)
        figures[f"{name}_onnx"] = score(classify_onnx(path, part), part)
    text = json.dumps(figures, indent=2)
    (arguments.work / "figures.json").write_text(text)
    print(text)


def score(guess: torch.Tensor, faces: Faces) -> dict[str, object]:
    """Figures against FER2013's labels; with votes, also against their majority, and clear ones."""
    wanted = {"labels": faces.labels}
    if bool((faces.majority >= 0).any()):
        wanted["majority"] = faces.majority
        wanted["clear_majority"] = torch.where(faces.is_clear, faces.majority, -1)
    return {
        name: {"num_pictures": int((truth >= 0).sum()), **asdict(figures_of(guess, truth))}
        for name, truth in wanted.items()
    }


def classify_onnx(path: Path, faces: Faces) -> torch.Tensor:
    """Likeliest class (n,) by the exported network, as it is shipped."""
    session = open_onnx(path)
    parts = faces.images.float().split(64)
    guesses = [session.run(["logits"], {"grey": part.numpy()})[0].argmax(axis=1) for part in parts]
    return torch.from_numpy(np.concatenate(guesses))


def run_export(arguments: argparse.Namespace) -> None:
    """Export `final.pt` and say how far ONNX and torch differ."""
    net, recipe = load(arguments.work / "final.pt")
    path = arguments.work / "face.onnx"
    export(net, recipe.side_px, path)
    print(f"{path}: {path.stat().st_size} bytes, {time_onnx(path, recipe.side_px):.2f} ms a crop")


class Shipped(nn.Module):
    """The mean of a crop and its mirror image; without blendshapes, which are there to learn from.

    Logits are the mean log-probabilities.
    """

    def __init__(self, net: FaceNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding, logits, _ = self.net(grey)
        mirrored, mirrored_logits, _ = self.net(grey.flip(-1))
        both = logits.log_softmax(1) + mirrored_logits.log_softmax(1)
        return (embedding + mirrored) / 2, both / 2


def export(net: FaceNet, side_px: int, path: Path) -> None:
    """Write `net` as ONNX and check it against torch on random crops."""
    crops = torch.rand(4, 1, side_px, side_px) * 255
    shipped = Shipped(net).eval()
    partial = path.with_suffix(".partial")
    torch.onnx.export(
        shipped,
        (crops,),
        str(partial),
        input_names=["grey"],
        output_names=["embedding", "logits"],
        dynamic_axes={name: {0: "batch"} for name in ("grey", "embedding", "logits")},
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(str(partial))
    for key, value in {"emotions": ",".join(EMOTIONS), "side_px": str(side_px)}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(partial))
    check(shipped, crops, partial, MOST_ROUNDING)
    # Codes round each weight by up to 0.4 % of its output's largest; `score` says what that costs.
    onnx.save(encode_weights(model), str(partial))
    check(shipped, crops, partial, MOST_CODING)
    partial.replace(path)


def check(shipped: Shipped, crops: torch.Tensor, path: Path, limit: float) -> None:
    """Raise RuntimeError where the graph differs from torch by more than `limit`."""
    with torch.no_grad():
        expected = shipped(crops)
    found = open_onnx(path).run(None, {"grey": crops.numpy()})
    for torch_part, onnx_part in zip(expected, found, strict=True):
        worst = float(np.abs(torch_part.numpy() - onnx_part).max())
        if worst > limit:
            raise RuntimeError(f"{path}: ONNX differs from torch by {worst}")


def open_onnx(path: Path) -> onnxruntime.InferenceSession:
    """Session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def time_onnx(path: Path, side_px: int, batch: int = 20, rounds: int = 15) -> float:
    """Median CPU milliseconds a crop, one thread, in batches of 20."""
    session = open_onnx(path)
    crops = np.random.default_rng(0).uniform(0, 255, (batch, 1, side_px, side_px))
    crops = crops.astype(np.float32)
    times_ms = []
    for _ in range(rounds):
        start_s = time.process_time()
        session.run(None, {"grey": crops})
        times_ms.append((time.process_time() - start_s) * 1e3 / batch)
    return float(np.median(times_ms))


if __name__ == "__main__":
    main()
