"""How far a report and people agree: kappa, alpha, confusions, and both on one timeline."""

from __future__ import annotations

from facevoice.agreement.compare import (
    CHANNELS,
    Agreement,
    Among,
    Case,
    Comparison,
    Mapping,
    compare,
    pair_up,
)
from facevoice.agreement.figures import LEVEL, cohen_kappa, kappa_interval, krippendorff_alpha
from facevoice.agreement.page import to_agreement_page
from facevoice.agreement.plain import to_agreement_json
from facevoice.agreement.reviews import read_by_hand
from facevoice.agreement.words import FIGURES, MEANING, describe, describe_among, figure_cells

__all__ = [
    "CHANNELS",
    "FIGURES",
    "LEVEL",
    "MEANING",
    "Agreement",
    "Among",
    "Case",
    "Comparison",
    "Mapping",
    "cohen_kappa",
    "compare",
    "describe",
    "describe_among",
    "figure_cells",
    "kappa_interval",
    "krippendorff_alpha",
    "pair_up",
    "read_by_hand",
    "to_agreement_json",
    "to_agreement_page",
]
