"""All settings of a training run, checked when they are built; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from facevoice.models.network import NetworkConfig
from facevoice.records import Modality
from facevoice.settings import (
    build_settings,
    format_toml,
    plain_settings,
    read_toml,
    require,
    require_range,
    set_value,
)

_MOST: Final = 2**31 - 1

SMALL_EPOCHS: Final = 2
SMALL_BATCH: Final = 2
SMALL_WARNING: Final = (
    "Small mode: 2 speakers of RAVDESS and 100 clips of CREMA-D, batches of 2, 2 epochs. It shows "
    "that everything runs; the figures it gives are worth nothing. Train on a GPU, or with "
    "run.size=full, for a model to use."
)


def _check_share(settings: object, section: str, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(0 <= value < 1, f"{section}.{name}", value, "0 to below 1")


def _check_word(settings: object, section: str, words: Sequence[str], *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(value in words, f"{section}.{name}", value, ", ".join(words))


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Where and how the run computes."""

    # full; small: few clips, to see that it runs; auto: small where backbones are trained on a
    # CPU, else full (heads on stored embeddings train on a CPU in a minute).
    size: str = "auto"
    seed: int = 0  # everything random follows from it
    precision: str = "auto"  # no, bf16 or fp16; auto: bf16 on a GPU that has it, else no
    # The training state is saved after so many steps, and after each epoch.
    save_every_steps: int = 200
    # Experiment trackers that Accelerate knows, such as tensorboard or wandb.
    trackers: tuple[str, ...] = ("tensorboard",)
    log_every_steps: int = 20  # losses are logged after so many steps

    def __post_init__(self) -> None:
        _check_word(self, "run", ("auto", "small", "full"), "size")
        _check_word(self, "run", ("auto", "no", "bf16", "fp16"), "precision")
        require_range(self, "run", 0, _MOST, "seed")
        require_range(self, "run", 1, _MOST, "save_every_steps", "log_every_steps")


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How weights are fitted."""

    num_epochs: int = 20  # most passes over the training clips
    batch_size: int = 256  # items a step, over all processes and accumulated parts
    # A step's batch is computed in so many parts, one after the other, to save memory.
    accumulate: int = 1
    learning_rate: float = 5e-4  # highest rate of AdamW, reached after the warm-up
    backbone_learning_rate: float = 1e-5  # the same for backbone layers that are trained along
    final_rate: float = 0.01  # share of the highest rate that the cosine ends at
    warmup: float = 0.05  # share of all steps in which the rate rises
    # AdamW's decay of weight matrices; biases, norms and absent vectors have none.
    weight_decay: float = 1.0
    # AdamW's ε. Where it is far above the gradients, steps follow their size, as in plain
    # gradient descent with momentum; else every weight moves alike, those of inputs that are
    # noise too.
    epsilon: float = 1e-8
    max_gradient_norm: float = 1.0  # longer gradients are cut to this length; 0 leaves them
    # Decay a step of the moving average of the weights that is validated and kept; 0 for none.
    ema: float = 0.98
    # Epochs without a better validation before stopping; 0 runs all epochs and keeps the last.
    patience: int = 8
    # What validation compares: uar, loss, or score (mean of UAR and conflict AUROC).
    monitor: str = "score"

    def __post_init__(self) -> None:
        require_range(self, "train", 1, 100_000, "num_epochs")
        require_range(self, "train", 1, 65_536, "batch_size")
        fits = 1 <= self.accumulate <= self.batch_size
        require(fits, "train.accumulate", self.accumulate, "1 to train.batch_size")
        for name in ("learning_rate", "backbone_learning_rate", "epsilon"):
            value = getattr(self, name)
            require(0 < value <= 1, f"train.{name}", value, "above 0, at most 1")
        _check_share(self, "train", "final_rate", "warmup", "ema")
        require_range(self, "train", 0, 10, "weight_decay")
        require_range(self, "train", 0, _MOST, "max_gradient_norm", "patience")
        _check_word(self, "train", ("score", "uar", "loss"), "monitor")


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """What each head learns; a head never mixes targets."""

    # Fused emotion: intended, or perceived (votes on picture and sound together).
    emotion: str = "intended"
    face: str = "intended"  # face emotion: intended, or perceived (votes on the silent picture)
    voice: str = "intended"  # voice emotion: intended, or perceived (votes on the sound alone)
    # intended: re-paired clips; perceived: original clips that people judged.
    conflict: str = "intended"

    def __post_init__(self) -> None:
        _check_word(
            self, "targets", ("intended", "perceived"), "emotion", "face", "voice", "conflict"
        )


@dataclass(frozen=True, slots=True)
class LossSettings:
    """How the heads' losses are weighed and regularised."""

    emotion: float = 1.0  # weight of the fused emotion
    face: float = 1.0  # weight of the face emotion
    voice: float = 1.0  # weight of the voice emotion
    conflict: float = 1.0  # weight of match against conflict
    # balanced: the emotions of a corpus count alike; none: each clip does.
    class_weights: str = "balanced"
    # A corpus counts as (its speakers)^power; 0 makes all corpora alike, 1 all speakers.
    corpus_power: float = 0.4
    # Share of each target that is spread over the emotions of the corpus.
    label_smoothing: float = 0.2
    modality_dropout: float = 0.1  # share of items that lose one of their two channels in training

    def __post_init__(self) -> None:
        require_range(self, "loss", 0, 100, "emotion", "face", "voice", "conflict")
        _check_word(self, "loss", ("none", "balanced"), "class_weights")
        require_range(self, "loss", 0, 1, "corpus_power")
        _check_share(self, "loss", "label_smoothing", "modality_dropout")


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """Who is trained on, validated on and tested on: always different speakers."""

    num_folds: int = 5  # folds of each corpus' speakers
    # The fold that is tested; the next one is validated on. −1: no test, nobody is kept back.
    fold: int = 0
    seed: int = 0  # deals the speakers into folds

    def __post_init__(self) -> None:
        require_range(self, "split", 3, 100, "num_folds")
        require_range(self, "split", -1, self.num_folds - 1, "fold")
        require_range(self, "split", 0, _MOST, "seed")


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Conflict pairs and re-paired matches among the items of an epoch."""

    # Pairs a training clip in each epoch; 0 for none, and then no conflict head is trained.
    ratio: float = 1.0
    seed: int = 0  # chooses who meets whom

    def __post_init__(self) -> None:
        require_range(self, "pairs", 0, 100, "ratio")
        require_range(self, "pairs", 0, _MOST, "seed")


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """Training of the backbones themselves, on stored windows."""

    video_layers: int = 0  # so many last layers of the video backbone are trained
    audio_layers: int = 0  # so many last layers of the audio backbone are trained
    # If above 0: low-rank adapters of this rank in all attention layers, in place of layers.
    lora_rank: int = 0
    lora_alpha: float = 16.0  # scale of the adapters: they count alpha / rank

    def __post_init__(self) -> None:
        require_range(self, "finetune", 0, 1024, "video_layers", "audio_layers", "lora_rank")
        either = not (self.lora_rank and (self.video_layers or self.audio_layers))
        require(either, "finetune.lora_rank", self.lora_rank, "0 where layers are trained")
        require(self.lora_alpha > 0, "finetune.lora_alpha", self.lora_alpha, "above 0")

    @property
    def num_layers(self) -> dict[Modality, int]:
        """Last layers to train, by channel."""
        return {Modality.VIDEO: self.video_layers, Modality.AUDIO: self.audio_layers}

    @property
    def is_on(self) -> bool:
        """Whether any part of a backbone is trained."""
        return bool(self.video_layers or self.audio_layers or self.lora_rank)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that a training run depends on, besides its data."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    train: OptimizerSettings = field(default_factory=OptimizerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    pairs: PairSettings = field(default_factory=PairSettings)
    # Training of the backbones.
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    run: RunSettings = field(default_factory=RunSettings)

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
