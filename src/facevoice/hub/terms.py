"""Under which licence a checkpoint may be published: the strictest of all that went into it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from facevoice.data.registry import corpus_names, create_corpus
from facevoice.errors import ConfigError
from facevoice.features.compact import CompactFace, CompactVoice
from facevoice.features.pretrained import PRETRAINED
from facevoice.models.checkpoint_info import CheckpointInfo


class Term(StrEnum):
    """What a licence forbids or demands of what is made from the work; attribution is usual."""

    NON_COMMERCIAL = "non-commercial use only"
    SHARE_ALIKE = "to be shared under the same terms"
    NO_DERIVATIVES = "no derivatives"
    RESEARCH = "research use only"
    UNKNOWN = "terms not known"


@dataclass(frozen=True, slots=True)
class Source:
    """Something that went into the weights: a corpus, or a backbone, and its licence in words."""

    name: str
    license: str
    terms: frozenset[Term]


@dataclass(frozen=True, slots=True)
class License:
    """A licence as the hub names it.

    id: a name of the hub's list, "other" where none of them fits, None where nobody chose one;
    name: what "other" is.
    """

    id: str | None
    name: str | None = None


RESTRICTED: Final = License("other", "non-commercial-research-share-alike")
"""Where terms go beyond what a licence of the hub's list says."""

# Each pattern is looked for in the licence's words, lower case.
_PATTERNS: Final = (
    (Term.NON_COMMERCIAL, r"\bnc\b|non-?commercial"),
    (Term.SHARE_ALIKE, r"\bsa\b|share-?alike"),
    (Term.NO_DERIVATIVES, r"\bnd\b|no-?deriv"),
    (Term.RESEARCH, r"\bresearch\b|internal use|copyright of"),
)
_FREE: Final = re.compile(r"\b(mit|apache|bsd|odbl|odc|cc0|gpl|public domain|cc[ -]by)\b")
_UNRESTRICTED: Final = License(None)
_PACKAGE_BACKBONES: Final = {
    spec.name: spec.license for spec in (CompactFace.spec, CompactVoice.spec)
}


def read_terms(license_words: str) -> frozenset[Term]:
    """The terms of a licence in words, such as "CC BY-NC-SA 4.0"."""
    words = license_words.lower()
    found = frozenset(term for term, pattern in _PATTERNS if re.search(pattern, words))
    if found or _FREE.search(words):
        return found
    return frozenset({Term.UNKNOWN})


def corpus_source(name: str) -> Source:
    """The licence of a corpus; of one that has no reader here, nothing is known."""
    if name not in corpus_names():
        return Source(name, "not known here", frozenset({Term.UNKNOWN}))
    info = create_corpus(name).info
    return Source(info.title, info.license, read_terms(info.license))


def plain_name(backbone: str) -> str:
    """A backbone's name without the revision behind `@` and the rows behind `+`."""
    return backbone.partition("@")[0].partition("+")[0]


def backbone_source(backbone: str) -> Source:
    """The licence of a backbone, given as in a checkpoint."""
    name = plain_name(backbone)
    words = _PACKAGE_BACKBONES.get(name)
    if words is None and name in PRETRAINED:
        words = PRETRAINED[name].license
    if words is None:
        return Source(backbone, "not known here", frozenset({Term.UNKNOWN}))
    return Source(name, words, read_terms(words))


def sources_of(info: CheckpointInfo) -> tuple[Source, ...]:
    """Everything that went into a checkpoint."""
    backbones = [backbone_source(used.backbone) for used in info.backbones.values()]
    return (*(corpus_source(name) for name in info.data.corpora), *backbones)


def choose_license(sources: Iterable[Source], wanted: str | None = None) -> License:
    """The licence for what was made from the sources.

    Args:
        sources: what went into it.
        wanted: the publisher's choice, a name of the hub's list; by default what the sources
            demand, and none where they demand nothing: that choice is not ours.

    Raises:
        ConfigError: the wanted licence gives away what a source does not allow.
    """
    sources = tuple(sources)
    terms = frozenset[Term]().union(*(source.terms for source in sources)) - {Term.UNKNOWN}
    if not terms:
        demanded = _UNRESTRICTED
    elif terms == {Term.NON_COMMERCIAL}:
        demanded = License("cc-by-nc-4.0")
    elif terms == {Term.NON_COMMERCIAL, Term.SHARE_ALIKE}:
        demanded = License("cc-by-nc-sa-4.0")
    elif terms == {Term.SHARE_ALIKE}:
        demanded = License("cc-by-sa-4.0")
    else:
        demanded = RESTRICTED
    if wanted is None or wanted == demanded.id:
        return demanded
    missing = terms - read_terms(wanted)
    if missing:
        because = "; ".join(f"{s.name}: {s.license}" for s in sources if s.terms & missing)
        raise ConfigError(
            f"licence {wanted!r} is not allowed: it does not say {', '.join(sorted(missing))} "
            f"({because}). Leave it out to take {demanded.id}"
        )
    return License(wanted)
