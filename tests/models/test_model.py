"""Models and the backbones that belong to them; everything else is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from facevoice import Analyzer, Outcome, Reason, Status
from facevoice.backbones.compact import FACE_DIM, VOICE_FEATURES
from facevoice.backbones.export import export_backbone
from facevoice.backbones.registry import create_backbone
from facevoice.errors import ConfigError, WeightsError
from facevoice.export import make_samples
from facevoice.models.checkpoint import UsedEmbeddings
from facevoice.models.model import CheckpointModel, assemble, find_checkpoint, read_model_info
from facevoice.records import Modality
from facevoice.settings import AnalyzerConfig, WindowConfig
from full_models import FullModel, write_compact_model, write_full_model
from tiny_checkpoints import write_checkpoint

SAMPLE = Path(__file__).parents[2] / "examples" / "smile_glad_voice.mp4"
ONE_WINDOW = AnalyzerConfig(windows=WindowConfig(length_s=10.0, hop_s=10.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FullModel:
    return write_full_model(tmp_path_factory.mktemp("full"), video="+tokens", fusion="attention")


def test_the_compact_family_is_the_model_without_a_checkpoint() -> None:
    parts = assemble()
    assert parts.model.name == "compact"
    assert parts.modalities == frozenset(Modality)
    assert parts.model.curve is not None
    assert parts.info is None
    with pytest.raises(ConfigError, match="for a checkpoint only"):
        assemble(None, ["compact-face"])


def test_a_checkpoint_builds_its_backbones_by_name(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_compact_model(run / "checkpoint")
    parts = assemble(run)  # the output of training
    assert parts.model.name == "run"
    assert parts.sources == {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
    assert find_checkpoint(run) == run / "checkpoint"
    assert read_model_info(run).data.corpora == ("javanese",)


def test_tokens_are_stacked_as_in_training(model: FullModel) -> None:
    parts = assemble(model.checkpoint, model.names)
    assert parts.backbones[Modality.VIDEO].spec.num_rows == 8
    assert parts.sources[Modality.VIDEO] == f"{model.folders[Modality.VIDEO]}+tokens"
    assert (
        create_backbone(parts.sources[Modality.VIDEO]).model
        == parts.backbones[Modality.VIDEO].model
    )
    with pytest.raises(ConfigError, match="was not trained on the layers"):
        assemble(model.checkpoint, [f"{model.folders[Modality.VIDEO]}+layers"])


@pytest.mark.parametrize("modality", [*Modality])
def test_a_model_of_one_channel_says_nothing_of_the_other(
    tmp_path: Path, modality: Modality
) -> None:
    checkpoint = write_compact_model(tmp_path / "one", modalities=(modality,))
    report = Analyzer(ONE_WINDOW, checkpoint=checkpoint).analyze(SAMPLE)
    assert report.status is Status.OK
    assert report.summary is not None
    seen = modality is Modality.VIDEO
    assert (report.summary.face is not None, report.summary.voice is not None) == (seen, not seen)
    assert report.summary.fused is not None
    assert report.summary.conflict is None
    assert report.summary.outcome is Outcome.INSUFFICIENT
    assert report.summary.reasons == (Reason.MODEL_WITHOUT_CONFLICT,)


def test_without_a_curve_no_conflict_is_told(tmp_path: Path) -> None:
    parts = assemble(write_compact_model(tmp_path / "both"))
    assert isinstance(parts.model, CheckpointModel)
    plain = CheckpointModel(
        "plain",
        replace(parts.model.checkpoint, info=replace(parts.model.info, curve=None)),
    )
    rng = np.random.default_rng(0)
    embeddings = {
        Modality.VIDEO: rng.normal(size=FACE_DIM).astype(np.float32),
        Modality.AUDIO: rng.normal(size=VOICE_FEATURES).astype(np.float32),
    }
    assert parts.model.predict([embeddings])[0].conflict is not None
    said = plain.predict([embeddings])[0]
    assert said.conflict is None
    assert said.face is not None


def test_an_embedding_of_another_width_is_refused(tmp_path: Path) -> None:
    parts = assemble(write_compact_model(tmp_path / "both"))
    with pytest.raises(WeightsError, match=r"the network wants \(T, 519\)"):
        parts.model.predict([{Modality.VIDEO: np.zeros(500, np.float32)}])


def test_another_revision_is_refused_and_both_are_named(model: FullModel, tmp_path: Path) -> None:
    other = write_checkpoint("wavlm-large", tmp_path / "other")
    wanted = read_model_info(model.checkpoint).backbones[Modality.AUDIO].backbone
    with pytest.raises(WeightsError) as told:
        assemble(model.checkpoint, [*model.names[:1], str(other)])
    assert wanted in str(told.value)
    assert create_backbone(str(other)).model.sha256[:12] in str(told.value)
    assert "--backbone" in str(told.value)


def test_an_outdated_backbone_of_the_package_is_refused(tmp_path: Path) -> None:
    old = UsedEmbeddings("compact-face@000000000000", 519)
    voice = read_model_info(write_compact_model(tmp_path / "new")).backbones[Modality.AUDIO]
    folder = write_compact_model(
        tmp_path / "old", backbones={Modality.VIDEO: old, Modality.AUDIO: voice}
    )
    with pytest.raises(WeightsError, match=r"compact-face@0{12}, but compact-face is compact-fa"):
        Analyzer(checkpoint=folder)


def test_an_exported_backbone_stands_in_for_its_source(model: FullModel, tmp_path: Path) -> None:
    voice = create_backbone(str(model.folders[Modality.AUDIO]), device="cpu")
    export_backbone(voice, tmp_path / "voice", int8=False)
    parts = assemble(model.checkpoint, [model.names[0], str(tmp_path / "voice")])
    window = make_samples(crop_px=40).windows[0]
    ours = parts.backbones[Modality.AUDIO].embed([window])
    np.testing.assert_allclose(ours, voice.embed([window]), atol=1e-4)


def test_backbones_must_be_named_where_only_a_folder_is_known(model: FullModel) -> None:
    with pytest.raises(ConfigError, match=r"folder:tiny-video\+tokens@\w+, from a folder; name it"):
        assemble(model.checkpoint)
    with pytest.raises(ConfigError, match="is of video, which is named twice"):
        assemble(model.checkpoint, [model.names[0], model.names[0]])


def test_embeddings_from_a_file_can_not_be_made_again(tmp_path: Path) -> None:
    used = UsedEmbeddings("features:video_768@file", 519)
    folder = write_compact_model(
        tmp_path / "file", modalities=(Modality.VIDEO,), backbones={Modality.VIDEO: used}
    )
    with pytest.raises(WeightsError, match="features:video_768@file, a file that does not say"):
        assemble(folder)
    with pytest.raises(ConfigError, match="is of audio, which is not used"):
        assemble(folder, ["compact-voice"])


def test_folders_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere: no such folder"):
        assemble(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match=r"neither a checkpoint .* nor an exported folder"):
        assemble(tmp_path)
    with pytest.raises(ConfigError, match="--checkpoint"):
        Analyzer(AnalyzerConfig(model="javanese"))
