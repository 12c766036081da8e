"""Corpus readers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from facevoice.data.corpus import Corpus
from facevoice.data.cremad import CremaD
from facevoice.data.emodb import EmoDB
from facevoice.data.fer2013 import Fer2013
from facevoice.data.iemocap import Iemocap
from facevoice.data.javanese import Javanese
from facevoice.data.meld import Meld
from facevoice.data.ravdess import Ravdess
from facevoice.data.savee import Savee
from facevoice.data.tess import Tess
from facevoice.errors import CorpusError

_READERS: Final[dict[str, Callable[[], Corpus]]] = {}


def register_corpus(name: str, create: Callable[[], Corpus]) -> None:
    """Make a reader known under `name`.

    Raises:
        CorpusError: the name is taken.
    """
    if name in _READERS:
        raise CorpusError(f"a corpus named {name!r} is registered already")
    _READERS[name] = create


def corpus_names() -> tuple[str, ...]:
    """The names that `create_corpus` knows, sorted."""
    return tuple(sorted(_READERS))


def create_corpus(name: str) -> Corpus:
    """The reader of the corpus called `name`.

    Raises:
        CorpusError: no reader has this name; the message lists those that exist.
    """
    if name not in _READERS:
        raise CorpusError(f"no corpus is called {name!r}; known: {', '.join(corpus_names())}")
    return _READERS[name]()


for _reader in (CremaD, EmoDB, Fer2013, Iemocap, Javanese, Meld, Ravdess, Savee, Tess):
    register_corpus(_reader.info.name, _reader)
