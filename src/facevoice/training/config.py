"""All settings of a training run, checked when they are built; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from facevoice.models.checkpoint import NetworkConfig
from facevoice.settings import (
    build_settings,
    format_toml,
    plain_settings,
    read_toml,
    require,
    set_value,
)

TARGETS: Final = ("intended", "perceived")
SIZES: Final = ("auto", "small", "full")
MONITORS: Final = ("score", "uar", "loss")
PRECISIONS: Final = ("auto", "no", "bf16", "fp16")
WEIGHTINGS: Final = ("none", "balanced")

SMALL_EPOCHS: Final = 2
SMALL_BATCH: Final = 2
SMALL_WARNING: Final = (
    "Small mode: 2 speakers of RAVDESS and 100 clips of CREMA-D, batches of 2, 2 epochs. It shows "
    "that everything runs; the figures it gives are worth nothing. Train on a GPU, or with "
    "run.size=full, for a model to use."
)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Where and how the run computes."""

    size: str = "auto"
    """full; small: few clips, to see that it runs; auto: small where backbones are trained on a
    CPU, else full (heads on stored embeddings train on a CPU in a minute)."""
    seed: int = 0
    """Everything random follows from it."""
    precision: str = "auto"
    """no, bf16 or fp16; auto: bf16 on a GPU that has it, else no."""
    save_every_steps: int = 200
    """The training state is saved after so many steps, and after each epoch."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Experiment trackers that Accelerate knows, such as tensorboard or wandb."""
    log_every_steps: int = 20
    """Losses are logged after so many steps."""

    def __post_init__(self) -> None:
        require(self.size in SIZES, "run.size", self.size, ", ".join(SIZES))
        require(0 <= self.seed < 2**31, "run.seed", self.seed, "0 to 2^31 − 1")
        names = ", ".join(PRECISIONS)
        require(self.precision in PRECISIONS, "run.precision", self.precision, names)
        require(self.save_every_steps >= 1, "run.save_every_steps", self.save_every_steps, "from 1")
        require(self.log_every_steps >= 1, "run.log_every_steps", self.log_every_steps, "from 1")


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How weights are fitted."""

    num_epochs: int = 20
    """Most passes over the training clips."""
    batch_size: int = 256
    """Items a step, over all processes and accumulated parts."""
    accumulate: int = 1
    """A step's batch is computed in so many parts, one after the other, to save memory."""
    learning_rate: float = 5e-4
    """Highest rate of AdamW, reached after the warm-up."""
    backbone_learning_rate: float = 1e-5
    """The same for backbone layers that are trained along."""
    final_rate: float = 0.01
    """Share of the highest rate that the cosine ends at."""
    warmup: float = 0.05
    """Share of all steps in which the rate rises."""
    weight_decay: float = 1.0
    """AdamW's decay of weight matrices; biases, norms and absent vectors have none."""
    epsilon: float = 1e-8
    """AdamW's ε. Where it is far above the gradients, steps follow their size, as in plain gradient
    descent with momentum; else every weight moves alike, those of inputs that are noise too."""
    max_gradient_norm: float = 1.0
    """Longer gradients are cut to this length; 0 leaves them."""
    ema: float = 0.98
    """Decay a step of the moving average of the weights that is validated and kept; 0 for none."""
    patience: int = 8
    """Epochs without a better validation before stopping; 0 runs all epochs and keeps the last."""
    monitor: str = "score"
    """What validation compares: uar, loss, or score (mean of UAR and conflict AUROC)."""

    def __post_init__(self) -> None:
        require(1 <= self.num_epochs <= 100_000, "train.num_epochs", self.num_epochs, "1–100000")
        require(1 <= self.batch_size <= 65536, "train.batch_size", self.batch_size, "1–65536")
        fits = 1 <= self.accumulate <= self.batch_size
        require(fits, "train.accumulate", self.accumulate, "1 to train.batch_size")
        for name in ("learning_rate", "backbone_learning_rate"):
            rate = getattr(self, name)
            require(0 < rate <= 1, f"train.{name}", rate, "above 0, at most 1")
        for name in ("final_rate", "warmup", "ema"):
            share = getattr(self, name)
            require(0 <= share < 1, f"train.{name}", share, "0 to below 1")
        require(0 < self.epsilon <= 1, "train.epsilon", self.epsilon, "above 0, at most 1")
        require(0 <= self.weight_decay <= 10, "train.weight_decay", self.weight_decay, "0–10")
        norm = self.max_gradient_norm
        require(norm >= 0, "train.max_gradient_norm", norm, "at least 0")
        require(self.patience >= 0, "train.patience", self.patience, "at least 0")
        require(self.monitor in MONITORS, "train.monitor", self.monitor, ", ".join(MONITORS))


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """What each head learns; a head never mixes targets."""

    emotion: str = "intended"
    """Fused emotion: intended, or perceived (votes on picture and sound together)."""
    face: str = "intended"
    """Face emotion: intended, or perceived (votes on the silent picture)."""
    voice: str = "intended"
    """Voice emotion: intended, or perceived (votes on the sound alone)."""
    conflict: str = "intended"
    """intended: re-paired clips; perceived: original clips that people judged."""

    def __post_init__(self) -> None:
        for name in ("emotion", "face", "voice", "conflict"):
            value = getattr(self, name)
            require(value in TARGETS, f"targets.{name}", value, ", ".join(TARGETS))


@dataclass(frozen=True, slots=True)
class LossSettings:
    """How the heads' losses are weighed and regularised."""

    emotion: float = 1.0
    """Weight of the fused emotion."""
    face: float = 1.0
    """Weight of the face emotion."""
    voice: float = 1.0
    """Weight of the voice emotion."""
    conflict: float = 1.0
    """Weight of match against conflict."""
    class_weights: str = "balanced"
    """balanced: the emotions of a corpus count alike; none: each clip does."""
    corpus_power: float = 0.4
    """A corpus counts as (its speakers)^power; 0 makes all corpora alike, 1 all speakers."""
    label_smoothing: float = 0.2
    """Share of each target that is spread over the emotions of the corpus."""
    modality_dropout: float = 0.1
    """Share of items that lose one of their two channels in training."""

    def __post_init__(self) -> None:
        for name in ("emotion", "face", "voice", "conflict"):
            value = getattr(self, name)
            require(0 <= value <= 100, f"loss.{name}", value, "0–100")
        words = ", ".join(WEIGHTINGS)
        require(self.class_weights in WEIGHTINGS, "loss.class_weights", self.class_weights, words)
        require(0 <= self.corpus_power <= 1, "loss.corpus_power", self.corpus_power, "0–1")
        smoothing = self.label_smoothing
        require(0 <= smoothing < 1, "loss.label_smoothing", smoothing, "0 to below 1")
        dropped = self.modality_dropout
        require(0 <= dropped < 1, "loss.modality_dropout", dropped, "0 to below 1")


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """Who is trained on, validated on and tested on: always different speakers."""

    num_folds: int = 5
    """Folds of each corpus' speakers."""
    fold: int = 0
    """The fold that is tested; the next one is validated on. −1: no test, nobody is kept back."""
    seed: int = 0
    """Deals the speakers into folds."""

    def __post_init__(self) -> None:
        require(3 <= self.num_folds <= 100, "split.num_folds", self.num_folds, "3–100")
        allowed = f"-1 to {self.num_folds - 1}"
        require(-1 <= self.fold < self.num_folds, "split.fold", self.fold, allowed)
        require(0 <= self.seed < 2**31, "split.seed", self.seed, "0 to 2^31 − 1")


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Conflict pairs and re-paired matches among the items of an epoch."""

    ratio: float = 1.0
    """Pairs a training clip in each epoch; 0 for none, and then no conflict head is trained."""
    seed: int = 0
    """Chooses who meets whom."""

    def __post_init__(self) -> None:
        require(0 <= self.ratio <= 100, "pairs.ratio", self.ratio, "0–100")
        require(0 <= self.seed < 2**31, "pairs.seed", self.seed, "0 to 2^31 − 1")


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """Training of the backbones themselves, on stored windows."""

    video_layers: int = 0
    """So many last layers of the video backbone are trained."""
    audio_layers: int = 0
    """So many last layers of the audio backbone are trained."""
    lora_rank: int = 0
    """If above 0: low-rank adapters of this rank in all attention layers, in place of layers."""
    lora_alpha: float = 16.0
    """Scale of the adapters: they count alpha / rank."""

    def __post_init__(self) -> None:
        for name in ("video_layers", "audio_layers", "lora_rank"):
            value = getattr(self, name)
            require(0 <= value <= 1024, f"finetune.{name}", value, "0–1024")
        layers = self.video_layers or self.audio_layers
        either = not (self.lora_rank and layers)
        require(either, "finetune.lora_rank", self.lora_rank, "0 where layers are trained")
        require(self.lora_alpha > 0, "finetune.lora_alpha", self.lora_alpha, "above 0")

    @property
    def is_on(self) -> bool:
        """Whether any part of a backbone is trained."""
        return bool(self.video_layers or self.audio_layers or self.lora_rank)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that a training run depends on, besides its data."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Shape of the network."""
    train: OptimizerSettings = field(default_factory=OptimizerSettings)
    """Fitting of the weights."""
    loss: LossSettings = field(default_factory=LossSettings)
    """Weights of the tasks."""
    targets: TargetSettings = field(default_factory=TargetSettings)
    """What each head learns."""
    split: SplitSettings = field(default_factory=SplitSettings)
    """Speakers of each part."""
    pairs: PairSettings = field(default_factory=PairSettings)
    """Conflict pairs."""
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    """Training of the backbones."""
    run: RunSettings = field(default_factory=RunSettings)
    """Device, seed, saving."""

    def to_toml(self) -> str:
        """As TOML with every setting."""
        return format_toml(plain_settings(self))

    @classmethod
    def load(cls, path: Path | None = None, assignments: Sequence[str] = ()) -> TrainConfig:
        """From a TOML file, then changed by assignments such as `train.learning_rate=5e-5`.

        Raises:
            ConfigError: the file or an assignment is wrong, a name unknown, a value out of range.
        """
        values = {} if path is None else read_toml(path)
        for assignment in assignments:
            set_value(values, assignment)
        return build_settings(cls, values, "settings" if path is None else str(path))


def small(config: TrainConfig, keep: Sequence[str] = ()) -> TrainConfig:
    """The settings of small mode; those named in `keep` (train.batch_size …) stay as they are."""
    given = config.train
    batch = given.batch_size if "train.batch_size" in keep else SMALL_BATCH
    train = replace(
        given,
        num_epochs=given.num_epochs if "train.num_epochs" in keep else SMALL_EPOCHS,
        batch_size=batch,
        accumulate=min(given.accumulate, batch),
    )
    return replace(config, train=train, run=replace(config.run, size="small"))
