"""Write train_on_colab.ipynb from the cells below.

python notebooks/make_notebook.py            writes it
python notebooks/make_notebook.py --check    exits 1 if it is not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from notebook_file import notebook_text, write_or_check

TARGET: Final = Path(__file__).with_name("train_on_colab.ipynb")

TITLE: Final = """# Train facevoice

From corpora to a model of your own: download, prepare, extract, train three settings, evaluate,
compare, analyse a clip, publish. Cells run from top to bottom, on Colab or on any machine with
Jupyter. Every command may be run again: it goes on where it stopped.

- **With a GPU** (Runtime → Change runtime type): the large frozen backbones, VideoMAE and Wav2Vec2.
- **Without**: the small backbones that come with the package, unless you name others below.
- `FULL = False` takes 2 speakers of RAVDESS and 100 clips of CREMA-D, to see that everything
  runs: **figures from so little are worth nothing.** `FULL = True` takes all of both corpora: some
  tens of GB, and hours of downloading and extracting.

RAVDESS is for non-commercial use (CC BY-NC-SA 4.0), and so is what you train on it. Emotions shown
in a face or a voice are not feelings; read the README's limits and law before using a model on
people."""

SETTINGS: Final = """from pathlib import Path

SOURCE = "."  # what pip installs: the folder of a clone (put it there first), or a wheel
FULL = False  # True: the whole corpora
EPOCHS = 20
HUB_ID = ""  # "owner/name" publishes the model at the end
WORK = Path("facevoice-training")  # on Colab: Path("/content/drive/MyDrive/facevoice-training")

CORPORA = WORK / "corpora"
TABLE = WORK / "manifest.parquet"
STORE = WORK / "features.db"
RUNS = WORK / "runs"
KINDS = ("multimodal", "video", "audio")"""

DRIVE: Final = """# Colab only, if WORK lies on your Drive: it is kept when the machine goes.
if str(WORK.resolve()).startswith("/content/drive"):
    from google.colab import drive

    drive.mount("/content/drive")
WORK.mkdir(parents=True, exist_ok=True)"""

INSTALL: Final = """import importlib.util
import os
import shutil

os.environ["MPLBACKEND"] = "agg"  # the notebook's own way to draw is not for its commands
HAS_GPU = shutil.which("nvidia-smi") is not None
HAS_TORCH = importlib.util.find_spec("torch") is not None  # Colab brings one that suits its GPU
# Where there is neither, the build for CPUs is a tenth of the size.
INDEX = "" if HAS_GPU or HAS_TORCH else "--extra-index-url https://download.pytorch.org/whl/cpu"
%pip install --quiet {INDEX} "{SOURCE}[data,train]"
"""

CHOOSE: Final = """VIDEO_BACKBONE = "videomae-base" if HAS_GPU else "compact-face"
AUDIO_BACKBONE = "wav2vec2-xlsr-53-english" if HAS_GPU else "compact-voice"
SUBSET = "" if FULL else "--subset"
print(f"GPU: {HAS_GPU}; backbones: {VIDEO_BACKBONE} and {AUDIO_BACKBONE}")
!facevoice --version
assert _exit_code == 0, "see the message above\""""

DOWNLOAD: Final = """for corpus in ("ravdess", "cremad"):
    !facevoice data download {corpus} --root {CORPORA} {SUBSET}
    assert _exit_code == 0, "see the message above; run this cell again to go on\""""

PREPARE: Final = """!facevoice data prepare ravdess cremad --root {CORPORA} --out {TABLE}
assert _exit_code == 0, "see the message above"
!facevoice data describe {TABLE}"""

EXTRACT: Final = """!facevoice data extract {TABLE} --store {STORE} \\
    --backbone {VIDEO_BACKBONE} --backbone {AUDIO_BACKBONE}
assert _exit_code == 0, "see the message above; run this cell again to go on\""""

TRAIN: Final = """for kind in KINDS:
    !facevoice train {TABLE} --store {STORE} --model-type {kind} --out {RUNS}/{kind} \\
        --backbone {VIDEO_BACKBONE} --backbone {AUDIO_BACKBONE} --num-epochs {EPOCHS}
    assert _exit_code == 0, "see the message above; run this cell again to go on\""""

EVALUATE: Final = """for kind in KINDS:
    !facevoice evaluate {RUNS}/{kind}/predictions
    assert _exit_code == 0, "see the message above\""""

COMPARE: Final = """!facevoice compare {RUNS}/multimodal/predictions {RUNS}/video/predictions \\
    {RUNS}/audio/predictions --out {RUNS}/comparison
assert _exit_code == 0, "see the message above\""""

ANALYZE: Final = """CHECKPOINT = RUNS / "multimodal" / "checkpoint"
FILMS = {".mp4", ".flv"}
CLIP = next(path for path in sorted(CORPORA.rglob("*.*")) if path.suffix in FILMS)
!facevoice analyze {CLIP} --checkpoint {CHECKPOINT} --out {WORK}/reports --no-progress \\
    --backbone {VIDEO_BACKBONE} --backbone {AUDIO_BACKBONE}
assert _exit_code == 0, "see the message above\""""

PYTHON: Final = """import facevoice

analyzer = facevoice.from_pretrained(CHECKPOINT, backbones=[VIDEO_BACKBONE, AUDIO_BACKBONE])
report = analyzer.analyze(CLIP)
for window in report.windows:
    print(window.start_s, window.end_s, window.outcome, window.conflict, *window.reasons)"""

EXPORT: Final = """!facevoice export {CHECKPOINT} --out {RUNS}/exported --overwrite \\
    --backbone {VIDEO_BACKBONE} --backbone {AUDIO_BACKBONE}
assert _exit_code == 0, "see the message above\""""

PUSH: Final = """# On Colab, put a token that may write under Secrets, as HF_TOKEN.
NAME = HUB_ID or "owner/name"
!facevoice push {CHECKPOINT} {NAME} --dry-run
assert _exit_code == 0, "see the message above"
if HUB_ID:
    import sys

    if "google.colab" in sys.modules and not os.environ.get("HF_TOKEN"):
        from google.colab import userdata

        os.environ["HF_TOKEN"] = userdata.get("HF_TOKEN")
    !facevoice push {CHECKPOINT} {HUB_ID} --message "Train in a notebook"
    assert _exit_code == 0, "see the message above\""""

SPACE: Final = """!facevoice space {WORK}/space --checkpoint {RUNS}/exported --overwrite
assert _exit_code == 0, "see the message above"
if HUB_ID:
    !facevoice space {WORK}/space --push {HUB_ID}-demo
    assert _exit_code == 0, "see the message above\""""

CELLS: Final[tuple[tuple[str, str], ...]] = (
    ("markdown", TITLE),
    ("markdown", "## Settings"),
    ("code", SETTINGS),
    ("code", DRIVE),
    ("markdown", "## Install"),
    ("code", INSTALL),
    ("code", CHOOSE),
    (
        "markdown",
        "## Download\n\nFrom the publishers, every file checked by its published checksum. RAVDESS "
        "comes from Zenodo, CREMA-D from GitHub: no account is needed.",
    ),
    ("code", DOWNLOAD),
    (
        "markdown",
        "## Prepare\n\nOne validated table of all clips: speakers, sentences, emotions, durations.",
    ),
    ("code", PREPARE),
    (
        "markdown",
        "## Extract\n\nFaces are found, windows are cut, and the frozen backbones run once over "
        "each window; training reads what they gave. This is the long part: on one CPU core the "
        "large pair takes 7 to 8 seconds for a window of 4 s.",
    ),
    ("code", EXTRACT),
    (
        "markdown",
        "## Train\n\nBoth channels with conflict pairs, the picture alone, the sound alone. "
        "Speakers never cross parts. A corpus with two speakers has none left to be tested on.",
    ),
    ("code", TRAIN),
    (
        "markdown",
        "## Evaluate\n\nThe test speakers, from predictions that training wrote: `scores.json`, "
        "`scores.md` and a page with all curves in each folder.",
    ),
    ("code", EVALUATE),
    ("markdown", "## Compare\n\nWhat the second channel is worth, with intervals over speakers."),
    ("code", COMPARE),
    (
        "markdown",
        "## Analyse a clip\n\nThis one is of the corpus, perhaps of a speaker trained on: it shows "
        "how, not how well. Upload a clip and put its path in CLIP.",
    ),
    ("code", ANALYZE),
    ("code", PYTHON),
    (
        "markdown",
        "## Run it without torch\n\nThe whole model as ONNX files, compared with torch on the way.",
    ),
    ("code", EXPORT),
    (
        "markdown",
        "## Publish\n\nShows what would be sent; with `HUB_ID` set, sends it. The card says what "
        "it was trained on, its figures, and under which terms it stands.",
    ),
    ("code", PUSH),
    ("markdown", "## A page to try it on\n\nA folder that runs as a Space of the hub."),
    ("code", SPACE),
)


def make_notebook() -> str:
    """The notebook as JSON."""
    return notebook_text(CELLS, accelerator="GPU", colab={"provenance": []})


if __name__ == "__main__":
    sys.exit(write_or_check(TARGET, make_notebook()))
