"""Any subset of channels, by masks: what is not there must not count, whatever lies there."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facevoice.errors import ConfigError  # noqa: E402
from facevoice.models.fusion import FusionNetwork, Logits, count_parameters  # noqa: E402
from facevoice.models.heads import LateFusion, conflict_evidence, softmax  # noqa: E402
from facevoice.models.network import FUSIONS, NetworkConfig  # noqa: E402
from facevoice.records import Modality  # noqa: E402

VIDEO_DIM, AUDIO_DIM = 6, 10


def make_network(fusion: str = "concat", **changes: object) -> FusionNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(
        fusion=fusion,
        video_dim=VIDEO_DIM,
        audio_dim=AUDIO_DIM,
        fused_dim=8,
        head_dim=8,
        interaction_dim=4 if fusion == "concat" else 0,
        agreement_dim=8,
        attention_dim=8,
        attention_heads=2,
        **changes,  # type: ignore[arg-type]
    )
    network = FusionNetwork(config).eval()
    with torch.no_grad():  # so that absent vectors are not zeros by chance
        for name, parameter in network.named_parameters():
            if "absent" in name:
                parameter.normal_()
    return network


def make_batch(batch: int = 5, tokens: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "video": torch.randn(batch, tokens, VIDEO_DIM, generator=generator),
        "video_mask": torch.ones(batch, tokens, dtype=torch.bool),
        "audio": torch.randn(batch, tokens, AUDIO_DIM, generator=generator),
        "audio_mask": torch.ones(batch, tokens, dtype=torch.bool),
    }


def assert_close(first: Logits, second: Logits, rows: slice = slice(None)) -> None:
    for a, b in zip(first, second, strict=True):
        assert a is not None and b is not None
        assert torch.allclose(a[rows], b[rows], atol=1e-5), (a[rows] - b[rows]).abs().max()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_masked_does_not_count_whatever_it_is(fusion: str) -> None:
    network, batch = make_network(fusion), make_batch()
    batch["video_mask"][0, 2:] = False
    batch["audio_mask"][1] = False
    plain = network(**batch)
    batch["video"][0, 2:] = float("nan")
    batch["audio"][1] = float("inf")
    assert_close(network(**batch), plain)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_padding_and_the_other_items_change_nothing(fusion: str) -> None:
    network, batch = make_network(fusion), make_batch()
    batch["audio_mask"][1] = False
    padded = {
        name: torch.nn.functional.pad(x, (0, 0, 0, 4) if x.dtype != torch.bool else (0, 4))
        for name, x in batch.items()
    }
    together = network(**batch)
    assert_close(network(**padded), together)
    alone = network(**{name: x[2:3] for name, x in batch.items()})
    for one, many in zip(alone, together, strict=True):
        assert one is not None and many is not None
        assert torch.allclose(one, many[2:3], atol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_absent_channel_is_not_an_embedding_of_zeros(fusion: str) -> None:
    network, batch = make_network(fusion), make_batch()
    batch["audio"][:] = 0
    zeros = network(**batch).emotion
    batch["audio_mask"][:] = False
    assert not torch.allclose(network(**batch).emotion, zeros, atol=1e-3)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_channel_heads_see_their_own_channel_only(fusion: str) -> None:
    network, batch = make_network(fusion), make_batch()
    before = network(**batch)
    batch["audio"] += 1.0
    after = network(**batch)
    assert torch.equal(after.face, before.face)
    assert not torch.allclose(after.voice, before.voice)
    assert not torch.allclose(after.emotion, before.emotion)
    assert not torch.allclose(after.conflict, before.conflict)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("modality", list(Modality))
def test_one_channel_makes_a_network_without_conflict(fusion: str, modality: Modality) -> None:
    network, batch = make_network(fusion, modalities=(modality,)), make_batch()
    used = {name: x for name, x in batch.items() if name.startswith(modality.value)}
    logits = network(**used)
    assert logits.emotion.shape == (5, 8)
    assert logits.conflict is None
    assert (logits.face is None) == (modality is Modality.AUDIO)
    assert (logits.voice is None) == (modality is Modality.VIDEO)
    others = {"video", "audio"} - {modality.value}
    assert not any(other in name for name, _ in network.named_parameters() for other in others)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_takes_part_in_every_step(fusion: str) -> None:
    """Else several processes would wait for gradients that never come."""
    network = make_network(fusion).train()
    sum(head.sum() for head in network(**make_batch())).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_absent_vectors_are_learnt_from_items_without_the_channel() -> None:
    for fusion in ("concat", "attention"):
        network, batch = make_network(fusion), make_batch()
        batch["video_mask"][0] = False
        network(**batch).emotion.sum().backward()
        gradients = dict(network.fusion.absent.vectors.named_parameters())
        assert gradients["video"].grad.abs().sum() > 0
        assert gradients["audio"].grad.abs().sum() == 0


def test_attention_knows_the_order_of_tokens_and_mixes_channels() -> None:
    network, batch = make_network("attention"), make_batch()
    before = network(**batch).emotion
    batch["video"] = batch["video"].flip(1)
    assert not torch.allclose(network(**batch).emotion, before, atol=1e-4)
    mean_only = make_network("concat")
    assert torch.allclose(mean_only(**batch).emotion, mean_only(**make_batch()).emotion, atol=1e-5)


def test_a_gate_gives_no_weight_to_an_absent_channel() -> None:
    network, batch = make_network("gated"), make_batch()
    batch["audio_mask"][:] = False
    before = network(**batch).emotion
    with torch.no_grad():
        network.fusion.project["audio"].bias += 5.0
        network.fusion.gate.bias[8:] += 5.0
    assert torch.allclose(network(**batch).emotion, before, atol=1e-5)
    batch["audio_mask"][:] = True
    assert not torch.allclose(network(**batch).emotion, before, atol=1e-2)


def test_late_fusion_is_the_product_of_experts_of_the_compact_family() -> None:
    network = make_network("late")
    with torch.no_grad():
        network.fusion.log_weights["video"].fill_(np.log(0.7))
        network.fusion.log_weights["audio"].fill_(np.log(1.3))
        network.fusion.bias.copy_(torch.linspace(-1, 1, 8))
        said = network(**make_batch())
    compact = LateFusion(0.7, 1.3, np.linspace(-1, 1, 8))
    expected = compact(softmax(said.face.double().numpy()), softmax(said.voice.double().numpy()))
    assert np.allclose(said.emotion.softmax(dim=1).numpy(), expected, atol=1e-5)


def test_agreement_is_that_of_the_compact_family() -> None:
    head = make_network().conflict_head
    rng = np.random.default_rng(0)
    face, voice = softmax(rng.normal(size=(2, 6, 8)) * 2)
    p, q = torch.tensor(face).float(), torch.tensor(voice).float()
    found = head._evidence(p, q, p @ head._merge, q @ head._merge).numpy()
    log_agreement, divergence, valence, arousal, sharpness = conflict_evidence(face, voice).T
    expected = np.stack([log_agreement, sharpness, divergence, valence, arousal], axis=1)
    assert np.allclose(found, expected, atol=1e-4)


def test_whitening_makes_all_directions_alike_and_kills_those_that_never_vary() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 5, generator=generator) * torch.tensor([9.0, 3.0, 1.0, 0.1, 0.01])
    x = torch.cat([x @ torch.randn(5, 5, generator=generator), torch.full((500, 1), 7.0)], dim=1)
    white = make_network(video_shrinkage=1e-9)
    white.fit_inputs(Modality.VIDEO, x)
    found = white.standardized_tokens(Modality.VIDEO, x)
    covariance = found.T @ found / len(found)
    assert torch.allclose(covariance.diagonal().sort().values[1:], torch.ones(5), atol=0.02)
    off = covariance - torch.diag(covariance.diagonal())
    assert torch.allclose(off, torch.zeros(6, 6), atol=0.02)
    far = white.standardized_tokens(Modality.VIDEO, torch.full((1, 6), 1e4))
    assert torch.isfinite(far).all()
    plain = make_network(input_norm="standardize")
    plain.fit_inputs(Modality.VIDEO, x)
    spread = plain.standardized_tokens(Modality.VIDEO, x).std(dim=0, unbiased=False)
    assert torch.allclose(spread[:5], torch.ones(5), atol=1e-3)


def test_a_mix_of_layers_starts_as_their_mean() -> None:
    network = make_network(audio_layers=3)
    batch = make_batch()
    assert network.layer_mix is not None
    mean = {**batch, "audio": batch["audio"].mean(dim=1, keepdim=True).expand(-1, 3, -1)}
    assert_close(network(**mean), network(**batch))
    with torch.no_grad():
        network.layer_mix.scores[0] = 9.0
    first = {**batch, "audio": batch["audio"][:, :1].expand(-1, 3, -1)}
    assert torch.allclose(network(**first).voice, network(**batch).voice, atol=0.02)


def test_parameters_of_the_widths_that_the_full_model_has() -> None:
    plain = NetworkConfig(conflict_head="plain", channel_dim=0, layer_norm=True)
    network = FusionNetwork(plain)
    parts = {name: count_parameters(part) for name, part in network.named_children()}
    # 1,792 → 512 → 512 with norms and two absent vectors; 512 → 256 → 8 and → 2 with norms.
    assert parts["fusion"] == 1792 * 512 + 512 + 1024 + 512 * 512 + 512 + 1024 + 1792
    assert parts["emotion_head"] == 512 * 256 + 256 + 512 + 256 * 8 + 8
    assert parts["conflict_head"] == 512 * 256 + 256 + 512 + 256 * 2 + 2
    assert parts["channel_heads"] == (768 + 1024) * 8 + 16
    assert count_parameters(network) == 1_465_114


def test_settings_that_make_no_network_are_refused() -> None:
    for wrong in (
        {"fusion": "magic"},
        {"modalities": ()},
        {"modalities": (Modality.VIDEO, Modality.VIDEO)},
        {"attention_dim": 10, "attention_heads": 4},
        {"dropout": 1.0},
        {"fusion": "late", "conflict_head": "plain"},
        {"input_norm": "none"},
        {"video_shrinkage": 0.0},
        {"audio_layers": 101},
    ):
        with pytest.raises(ConfigError):
            NetworkConfig(**wrong)  # type: ignore[arg-type]


def test_a_channel_that_is_not_given_is_an_error() -> None:
    with pytest.raises(ValueError, match="audio"):
        make_network()(video=make_batch()["video"], video_mask=make_batch()["video_mask"])
