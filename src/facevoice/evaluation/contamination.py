"""Whether a figure is void because a backbone has seen the clips that it is scored on."""

from __future__ import annotations

from dataclasses import dataclass

from facevoice.errors import EvaluationError
from facevoice.evaluation.run_info import RunInfo


@dataclass(frozen=True, slots=True)
class Contamination:
    """What the run's backbones were trained on, held against the corpus that is scored.

    backbones: those that saw the corpus; unknown: those that nobody has published it of.
    """

    corpus: str
    backbones: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def is_contaminated(self) -> bool:
        """Whether figures of this corpus say nothing of new data."""
        return bool(self.backbones)


def find_contamination(info: RunInfo, corpus: str) -> Contamination:
    """Hold the run's backbones against `corpus`; CREMA-D, crema_d and cremad are the same."""
    seen, unknown = [], []
    for backbone in info.backbones:
        if backbone.known_corpora is None:
            unknown.append(backbone.name)
        elif _plain(corpus) in map(_plain, backbone.known_corpora):
            seen.append(backbone.name)
    return Contamination(corpus, tuple(seen), tuple(unknown))


def refuse_contaminated(info: RunInfo) -> None:
    """Make sure that no backbone has seen a corpus of the run.

    Raises:
        EvaluationError: one has; names backbone and corpus.
    """
    for corpus in info.corpora:
        found = find_contamination(info, corpus)
        if found.is_contaminated:
            raise EvaluationError(
                f"run {info.name!r}: {', '.join(found.backbones)} was trained on {corpus}, so that "
                f"every figure on {corpus} is contaminated; use another backbone or another corpus"
            )


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())
