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
    describe,
    pair_up,
)
from facevoice.agreement.figures import LEVEL, cohen_kappa, kappa_interval, krippendorff_alpha
from facevoice.agreement.page import (
    check_agreement_target,
    figure_words,
    to_agreement_page,
)
from facevoice.agreement.plain import to_agreement_json

__all__ = [
    "CHANNELS",
    "LEVEL",
    "Agreement",
    "Among",
    "Case",
    "Comparison",
    "Mapping",
    "check_agreement_target",
    "cohen_kappa",
    "compare",
    "describe",
    "figure_words",
    "kappa_interval",
    "krippendorff_alpha",
    "pair_up",
    "to_agreement_json",
    "to_agreement_page",
]
