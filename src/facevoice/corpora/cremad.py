"""CREMA-D: 91 speakers, 12 sentences, 6 emotions, picture and sound, rated by people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from facevoice.corpora.corpus import CorpusInfo, CorpusScan, StemReader, emotion_codes, read_table
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels
from facevoice.errors import CorpusError
from facevoice.records import BoolArray, DoubleArray, Emotion, Outcome

IntArray = npt.NDArray[np.int64]

EMOTION_CODES: Final = emotion_codes(
    "ANG=angry DIS=disgust FEA=fearful HAP=happy NEU=neutral SAD=sad"
)
# Level XX ("unspecified") is the only one of eleven sentences; IEO has the other three.
_LEVELS: Final = {
    "XX": (None, 1),
    "X": (None, 1),
    "LO": ("low", 1),
    "MD": ("medium", 2),
    "HI": ("high", 3),
}
BROKEN_CLIPS: Final = frozenset(
    {"1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD"}
)
"""Clips that the corpus' own README calls broken."""

VOTES_TABLE: Final = Path("processedResults", "tabulatedVotes.csv")
"""Where the published repository, and an archive of its tables, keep the votes."""
_PEOPLE_TABLE: Final = "VideoDemographics.csv"


class CremaD(StemReader):
    """Reader. Film (flv, mp4) and sound (wav, mp3) of one name are one clip.

    `take` counts the three levels of sentence IEO (low 1, medium 2, high 3); all other cells have
    one take. Sex, age, race and ethnicity come from VideoDemographics.csv where it lies at the
    root. The four clips that the corpus calls broken are left out.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="cremad",
        title="CREMA-D",
        language="en",
        license="ODbL 1.0",
        emotions=tuple(EMOTION_CODES.values()),
        urls=("https://github.com/CheyneyComputerScience/CREMA-D",),
        citation="Cao et al. (2014), IEEE Transactions on Affective Computing 5(4): 377-390",
    )
    pattern: ClassVar[str] = "1001_DFA_ANG_XX.flv"

    name: ClassVar[re.Pattern[str]] = re.compile(
        r"(?P<speaker>1\d{3})_(?P<sentence>IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)"
        r"_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<level>XX?|LO|MD|HI)"
    )

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """One published name ends in X where XX is meant."""
        if path.stem in BROKEN_CLIPS:
            return "called broken by the corpus itself"
        intensity, take = _LEVELS[match["level"]]
        return self.clip(
            f"{path.stem}X" if match["level"] == "X" else path.stem,
            speaker=match["speaker"],
            sentence=match["sentence"],
            take=take,
            labels=Labels(intended=EMOTION_CODES[match["emotion"]]),
            corpus_label=match["emotion"],
            intensity=intensity,
        )

    def scan(self, root: Path) -> CorpusScan:
        """See `Corpus.scan`; also raises CorpusError where the demographics are damaged."""
        scan = super().scan(root)
        return replace(scan, clips=with_demographics(scan.clips, root))


def clip_of_stem(stem: str) -> Clip | str:
    """The clip that a file name stands for (without paths), or the reason to leave it out."""
    return CremaD().parse(Path(stem))


def with_demographics(clips: Iterable[Clip], root: Path) -> tuple[Clip, ...]:
    """Clips with sex, age, race and ethnicity, where VideoDemographics.csv lies in `root`.

    Raises:
        CorpusError: the file is damaged; names the line.
    """
    table = root / _PEOPLE_TABLE
    expected = "ActorID, Age, Sex (Male or Female), Race and Ethnicity"
    people = dict(read_table(table, _person, expected)) if table.is_file() else {}
    return tuple(replace(clip, **people.get(clip.speaker or "", {})) for clip in clips)


def _person(row: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    # 1001,51,"Male","Caucasian","Not Hispanic"
    sex, age = {"Male": MALE, "Female": FEMALE}[row["Sex"]], int(row["Age"])
    facts = {"sex": sex, "age": age, "race": row["Race"], "ethnicity": row["Ethnicity"]}
    return row["ActorID"], facts


VOTE_EMOTIONS: Final = tuple(EMOTION_CODES.values())
"""Order of the columns of all counts of votes: A D F H N S."""
CLEAR_SHARE: Final = 0.6
"""A channel is clear if this share of people agree on it."""
CONGRUENCE: Final = (Outcome.MATCH, Outcome.CONFLICT, Outcome.FLAT, Outcome.INSUFFICIENT)
"""Order of the columns of `congruence_posterior`."""

_CHANNELS: Final = {1: "voice", 2: "face", 3: "both"}
_NEUTRAL: Final = VOTE_EMOTIONS.index(Emotion.NEUTRAL)
_MIN_VOTES: Final = 4
_MAX_ITERATIONS: Final = 2000
_SMALLEST_ALPHA: Final = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """Counts of votes, each (n, 6) in the order of VOTE_EMOTIONS, of clips `stems` (n,)."""

    stems: tuple[str, ...]
    face: IntArray
    voice: IntArray
    both: IntArray

    def __len__(self) -> int:
        return len(self.stems)


def read_votes(table: Path) -> Votes:
    """Read tabulatedVotes.csv; clips in order of their names.

    Raises:
        CorpusError: the file is absent or damaged, or a clip lacks a channel; names the line.
    """

    def build(row: Mapping[str, str]) -> tuple[str, str, list[int]]:
        # "100002",0,0,0,3,6,0,"1001_IEO_HAP_LO",9,…: 1 voice, 2 face, 3 both; A D F H N S
        channel = _CHANNELS[int(row[""]) // 100_000]
        return channel, row["fileName"], [int(row[letter]) for letter in "ADFHNS"]

    counts: dict[str, dict[str, list[int]]] = {name: {} for name in _CHANNELS.values()}
    expected = "a row number from 100001, counts A D F H N S and fileName"
    for channel, stem, votes in read_table(table, build, expected):
        counts[channel][stem] = votes
    stems = sorted(set().union(*counts.values()))
    for channel, known in counts.items():
        missing = [stem for stem in stems if stem not in known]
        if missing:
            raise CorpusError(f"{table}: clip {missing[0]} has no row of votes on {channel}")
    arrays = {
        channel: np.array([known[stem] for stem in stems], dtype=np.int64).reshape(-1, 6)
        for channel, known in counts.items()
    }
    return Votes(tuple(stems), **arrays)


def top_votes(counts: IntArray) -> tuple[IntArray, DoubleArray, BoolArray]:
    """The most frequent emotion (n,), its share (n,), and whether it is the only one (n,)."""
    best = counts.max(axis=1)
    unique = (counts == best[:, None]).sum(axis=1) == 1
    shares = best / np.maximum(counts.sum(axis=1), 1)
    return counts.argmax(axis=1).astype(np.int64), shares, unique


def add_votes(
    clips: Iterable[Clip], votes: Votes, congruence: Sequence[Outcome] | None = None
) -> tuple[Clip, ...]:
    """Clips of CREMA-D with the emotions that people saw, heard, and perceived in both.

    A tie between two emotions gives no label. Clips without votes come back as they were.
    `congruence` is the outcome of each clip of `votes`; None leaves that label as it is.
    """
    place_of = {f"cremad/{stem}": place for place, stem in enumerate(votes.stems)}
    winners = {
        channel: [VOTE_EMOTIONS[k] if only else None for k, only in zip(top, unique, strict=True)]
        for channel in _CHANNELS.values()
        for top, _, unique in [top_votes(getattr(votes, channel))]
    }

    def voted(clip: Clip) -> Clip:
        place = place_of.get(clip.clip_id)
        if place is None:
            return clip
        named = {channel: emotions[place] for channel, emotions in winners.items()}
        if congruence is not None:
            named["congruence"] = congruence[place]
        return replace(clip, labels=replace(clip.labels, **named))

    return tuple(map(voted, clips))


def complete_cremad(
    clips: tuple[Clip, ...], roots: Sequence[Path]
) -> tuple[tuple[Clip, ...], list[str]]:
    """Clips with the people's labels and demographics that lie in any of `roots`; what was joined.

    Where there are no clips at all, those that the ratings name are given, without files: their
    labels are worth a table of their own.

    Raises:
        CorpusError: a table is damaged; names the line.
    """
    names = ", ".join(sorted(BROKEN_CLIPS))
    notes = [f"CREMA-D calls these clips broken, so they are left out: {names}."]
    for table in [root / VOTES_TABLE for root in roots if (root / VOTES_TABLE).is_file()][:1]:
        votes = read_votes(table)
        source = f"{table.name} ({len(votes.stems)} rated clips)"
        if clips:
            num_rated = len({f"cremad/{s}" for s in votes.stems} & {c.clip_id for c in clips})
            notes.append(f"CREMA-D: {num_rated} of {len(clips)} clips have ratings in {source}.")
        else:
            named = (clip_of_stem(stem) for stem in votes.stems)
            clips = tuple(clip for clip in named if isinstance(clip, Clip))
            without = f"{len(clips)} clips of {source} stand without files"
            notes.append(f"CREMA-D: no film and no sound; {without}.")
        likeliest = congruence_posterior(votes).argmax(axis=1)
        clips = add_votes(clips, votes, [CONGRUENCE[k] for k in likeliest])
    for root in roots:
        clips = with_demographics(clips, root)
    return clips, notes


def congruence_posterior(
    votes: Votes,
    *,
    priors: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    num_draws: int = 500,
    seed: int = 0,
) -> DoubleArray:
    """What all people would say, given what some said: Dirichlet–multinomial in each channel.

    The shares θ of a channel have a Dirichlet(prior) before and Dirichlet(prior + votes) after the
    votes. In each draw of θ_face and θ_voice a channel is clear if its largest share reaches
    `CLEAR_SHARE` and is not neutral; both clear and equal is a match, both clear and different a
    conflict, else one is flat. A clip with fewer than four votes in a channel is insufficient.
    Gelman et al. (2013), Bayesian data analysis, §3.4 and §5.

    `priors` of face and voice, (6,) each, are fitted to all clips where they are not given. Returns
    probabilities (n, 4) in the order of `CONGRUENCE`.

    Raises:
        CorpusError: there are no votes to fit priors to.
    """
    rng = np.random.default_rng(seed)
    face_prior, voice_prior = priors or (fit_dirichlet(votes.face), fit_dirichlet(votes.voice))
    weights = (votes.face + np.asarray(face_prior), votes.voice + np.asarray(voice_prior))
    probs = np.zeros((len(votes), len(CONGRUENCE)))
    for _ in range(num_draws):
        (face, face_clear), (voice, voice_clear) = (_draw(rng, w) for w in weights)
        clear = face_clear & voice_clear
        probs[:, 0] += clear & (face == voice)
        probs[:, 1] += clear & (face != voice)
    probs /= num_draws
    probs[:, 2] = 1 - probs[:, 0] - probs[:, 1]
    few = np.minimum(votes.face.sum(axis=1), votes.voice.sum(axis=1)) < _MIN_VOTES
    probs[few] = [0.0, 0.0, 0.0, 1.0]
    return probs


def _draw(rng: np.random.Generator, weights: DoubleArray) -> tuple[IntArray, BoolArray]:
    """One draw of each clip's shares: its top emotion (n,), and whether that is clear (n,)."""
    gammas = rng.standard_gamma(weights)
    top = gammas.argmax(axis=1).astype(np.int64)
    clear = gammas.max(axis=1) >= CLEAR_SHARE * gammas.sum(axis=1)
    return top, np.asarray(clear & (top != _NEUTRAL))


def fit_dirichlet(counts: IntArray) -> DoubleArray:
    """The Dirichlet prior (6,) under which the votes (n, 6) of all clips are likeliest.

    Fixed point α_k ← α_k Σ_i [ψ(n_ik + α_k) − ψ(α_k)] / Σ_i [ψ(n_i + α) − ψ(α)], α = Σ α_k. Minka
    (2000), Estimating a Dirichlet distribution. For whole numbers the brackets are finite sums:
    ψ(n + a) − ψ(a) = Σ_{j < n} 1 / (a + j).

    Raises:
        CorpusError: there are no votes.
    """
    if counts.size == 0 or counts.sum() == 0:
        raise CorpusError("no votes to fit a prior to")
    steps = np.arange(int(counts.sum(axis=1).max()))
    exceed = (counts[:, :, None] > steps).sum(axis=0)  # (6, steps): clips with more votes than j
    exceed_all = (counts.sum(axis=1)[:, None] > steps).sum(axis=0)
    alpha = np.full(counts.shape[1], 0.5)
    for _ in range(_MAX_ITERATIONS):
        gain = (exceed / (alpha[:, None] + steps)).sum(axis=1)
        loss = (exceed_all / (alpha.sum() + steps)).sum()
        # An emotion that nobody ever chose would vanish; keep it possible.
        renewed = np.maximum(alpha * gain / loss, _SMALLEST_ALPHA)
        if np.abs(renewed - alpha).max() < 1e-6:
            break
        alpha = renewed
    return np.asarray(renewed, dtype=np.float64)
