"""Publishing and getting checkpoints, against a local server that speaks the hub's protocol."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import facevoice
from facevoice.backbones.huggingface import PRETRAINED
from facevoice.cli import app as cli
from facevoice.corpora.gather import corpus_names
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.hub import HubError, from_pretrained, plan_push, pull_checkpoint
from facevoice.hub.hub import CHECKPOINT_FILES, ORIGIN_FILE, choose_license, find_sources
from facevoice.models.checkpoint import CheckpointInfo, UsedEmbeddings
from facevoice.records import Modality
from facevoice.report import summarize_in_words
from hub.write_server import START, Fault, HubWriteServer
from tiny_models import FACE, VOICE, make_info, make_runnable_info, write_model

# Backbones that bind nobody (Apache-2.0), as wide as the others.
FREE = {
    m: replace(used, backbone="wav2vec2-base@9f0eb264dec6")
    for m, used in ((Modality.VIDEO, FACE), (Modality.AUDIO, VOICE))
}
NAME = "someone/tiny"
WEIGHTS = "model.safetensors"
SENT = {*CHECKPOINT_FILES}
PICKLE = b"cos\nsystem\n(S'false'\ntR."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits between attempts, no other way of upload than the one that is served here."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", "writer")
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def hub() -> Iterator[HubWriteServer]:
    with HubWriteServer().running() as server:
        assert isinstance(server, HubWriteServer)
        yield server


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    return write_model(tmp_path / "own")


def push(hub: HubWriteServer, folder: Path, name: str = NAME, **plan: Any) -> Any:
    variable = plan.pop("token_variable", "HF_TOKEN")
    return plan_push(folder, name, **plan).send(token_variable=variable, endpoint=hub.url)


def pull(hub: HubWriteServer, cache: Path, name: str = NAME, **more: Any) -> Any:
    return pull_checkpoint(name, endpoint=hub.url, cache_dir=cache, **more)


def header_of(card: str) -> dict[str, Any]:
    found = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# What is sent.


def test_a_checkpoint_goes_up_in_one_commit_and_comes_down_the_same(
    hub: HubWriteServer, own_model: Path, tmp_path: Path
) -> None:
    for name in ("notes.txt", "pytorch_model.bin", ".env", "train.py"):
        (own_model / name).write_bytes(b"private")
    sent = push(hub, own_model)
    assert sent.is_new
    assert sent.pull_request is None
    assert sent.url == f"{hub.url}/{NAME}/commit/{sent.commit}"
    files = hub.head(NAME)
    assert set(files) == {*SENT, *START}
    assert len(hub.repositories[NAME].commits) == 2  # the hub's own first one, and ours
    assert hub.messages == ["Add a facevoice model"]
    for name in SENT - {"README.md"}:
        assert files[name] == (own_model / name).read_bytes()
    assert list(hub.stored.values()) == [files[WEIGHTS]]  # the large file took the other way
    pulled = pull(hub, tmp_path)
    assert pulled.commit == sent.commit
    assert pulled.info == make_info(settings=pulled.info.settings)

    again = push(hub, own_model)
    assert (again.commit, again.is_new) == (sent.commit, False)
    assert len(hub.repositories[NAME].commits) == 2


def test_branches_and_pull_requests_leave_main_alone(hub: HubWriteServer, model: Path) -> None:
    push(hub, model)
    main = hub.repositories[NAME].refs["main"]
    other = write_model(model.parent / "other", seed=1)
    sent = push(hub, other, revision="v2")
    assert hub.repositories[NAME].refs == {"main": main, "v2": sent.commit}
    assert push(hub, other, revision="v2").commit == sent.commit

    hub.repository("stranger/net").commit(START)
    before = dict(hub.repositories["stranger/net"].refs)
    hub.asked.clear()
    sent = push(hub, model, "stranger/net", create_pr=True)
    assert sent.pull_request == f"{hub.url}/stranger/net/discussions/1"
    assert hub.repositories["stranger/net"].refs == {**before, "refs/pr/1": sent.commit}
    assert "POST /api/repos/create" not in hub.asked
    with pytest.raises(HubError, match="stranger/none: no such owner, repository or branch"):
        push(hub, model, "stranger/none", create_pr=True)


def test_private_means_private(hub: HubWriteServer, model: Path, tmp_path: Path) -> None:
    push(hub, model, private=True)
    assert hub.private == {NAME}
    assert pull(hub, tmp_path).folder.is_dir()
    push(hub, model, "someone/open")
    stored = hub.repositories["someone/open"].refs["main"]
    with pytest.raises(HubError, match="is there already, and public; nothing was sent"):
        push(hub, model, "someone/open", private=True)
    assert hub.repositories["someone/open"].refs["main"] == stored
    with pytest.raises(ConfigError, match="exclude each other"):
        plan_push(model, NAME, private=True, create_pr=True)


# What is refused before anything is asked of the hub.


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "some one/x", "../x/y", "a/..", "-/x", ""])
def test_names_are_checked_first(model: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="write OWNER/NAME"):
        plan_push(model, name)


def test_what_is_no_sound_checkpoint_is_not_planned(own_model: Path) -> None:
    index = json.loads((own_model / "checkpoint.json").read_text())
    damage(own_model / WEIGHTS)
    with pytest.raises(WeightsError, match=r"model\.safetensors: SHA-256 is"):
        plan_push(own_model, NAME)
    # A pickle under another name, with the hash that belongs to it.
    (own_model / WEIGHTS).write_bytes(PICKLE)
    index["sha256"][WEIGHTS] = hashlib.sha256(PICKLE).hexdigest()
    (own_model / "checkpoint.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="damaged"):
        plan_push(own_model, NAME)
    (own_model / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match="can't be read"):
        plan_push(own_model, NAME)
    with pytest.raises(WeightsError, match=r"holds no checkpoint\.json"):
        plan_push(own_model.parent, NAME)


def test_without_a_token_nothing_is_asked(
    hub: HubWriteServer, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(HubError, match=r"set HF_TOKEN .*settings/tokens.* hf auth login"):
        push(hub, model)
    with pytest.raises(HubError, match="no token: set MY_TOKEN"):
        push(hub, model, token_variable="MY_TOKEN")  # noqa: S106
    assert hub.asked == []
    monkeypatch.setenv("MY_TOKEN", "writer")
    assert push(hub, model, token_variable="MY_TOKEN").is_new  # noqa: S106


# What the hub may say, and that nothing changes then.


@pytest.mark.parametrize(
    ("name", "token", "words"),
    [
        (NAME, "expired", "the token is not accepted.* set HF_TOKEN"),
        (NAME, "reader", "the token has no right to write there.*says: “You don't have the rights"),
        ("stranger/tiny", "writer", "the token has no right to write there"),
        ("nobody/tiny", "writer", "no such owner"),
    ],
)
def test_who_may_not_write_is_told_why(
    hub: HubWriteServer,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    token: str,
    words: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=f"{name}: {words}"):
        push(hub, model, name)
    assert hub.repositories == {}


FAULTS = [
    (Fault("POST", "/commit/", 412, message="A commit has happened"), "changed the branch in the"),
    (Fault("POST", "/preupload/", 429, message="Slow down"), "too many requests.*Wait"),
    (Fault("POST", "/commit/", 500, message="Oops"), r"the hub failed \(500\).*says: “Oops"),
    (Fault("POST", "/commit/", 400, message="No"), r"refused it \(400\).*The hub says: “No"),
    (Fault("PUT", "/upload/", 500), r"the hub failed \(500\)"),
    (Fault("PUT", "/upload/", 0), "can't be reached, or broke off"),
    (Fault("POST", "/verify/", 404, message="Not there"), "no such owner.*says: “Not there"),
    (Fault("POST", "/commit/", 0), "can't be reached, or broke off"),
]


@pytest.mark.parametrize(
    ("fault", "words"), FAULTS, ids=[f"{f.path} {f.status}" for f, _ in FAULTS]
)
def test_no_failure_leaves_half_a_commit(
    hub: HubWriteServer, model: Path, fault: Fault, words: str
) -> None:
    hub.repository(NAME).commit(START)
    before = dict(hub.repositories[NAME].refs)
    hub.faults.append(replace(fault))
    with pytest.raises(HubError, match=words) as caught:
        push(hub, model)
    assert hub.faults.pop().times < fault.times  # it did happen
    assert "secret" not in str(caught.value)  # addresses of uploads are signed
    assert hub.repositories[NAME].refs == before
    assert push(hub, model).is_new  # and the same again goes through
    assert set(hub.head(NAME)) == {*SENT, *START}


def test_what_others_commit_meanwhile_is_not_overwritten(
    hub: HubWriteServer, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    hub.repository(NAME).commit(START)
    commit = HfApi.create_commit

    def late(self: HfApi, *arguments: Any, **more: Any) -> Any:
        hub.repositories[NAME].commit({**START, "theirs.txt": b"new"})
        return commit(self, *arguments, **more)

    monkeypatch.setattr(HfApi, "create_commit", late)
    with pytest.raises(HubError, match="somebody changed the branch in the meantime"):
        push(hub, model)
    assert set(hub.head(NAME)) == {*START, "theirs.txt"}


def test_no_connection(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubWriteServer().running() as gone:
        pass
    with pytest.raises(HubError, match=r"can't be reached.*HF_ENDPOINT"):
        push(gone, model)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        push(gone, model)


# The card and its licence.


def card_of(folder: Path, info: CheckpointInfo, license: str | None = None) -> dict[str, Any]:
    (folder / "README.md").unlink()
    return header_of(plan_push(write_model(folder, info), NAME, license=license).card)


def test_the_card_tells_what_the_checkpoint_holds_and_no_more(model: Path) -> None:
    card = plan_push(model, NAME).card
    header = header_of(card)
    assert header["datasets"] == ["cremad", "ravdess"]
    assert header["language"] == ["en"]
    assert header["library_name"] == "facevoice"
    assert header["pipeline_tag"] == "video-classification"
    assert "emotion-recognition" in header["tags"]
    shown = [
        (result["dataset"]["type"], result["dataset"]["split"], metric["type"], metric["value"])
        for result in header["model-index"][0]["results"]
        for metric in result["metrics"]
    ]
    assert shown == [
        ("cremad", "test", "uar", 0.5765),
        ("cremad", "test", "auroc", 0.66),
        ("ravdess", "test", "uar", 0.63),
    ]
    args = header["model-index"][0]["results"][0]["dataset"]["args"]
    assert args == {"protocol": "speaker-independent: fold 0 of 5, seed 0", "speakers": 2}
    assert f'from_pretrained("{NAME}")' in card
    assert "| RAVDESS | CC BY-NC-SA 4.0 | non-commercial use only, to be shared" in card


def test_void_figures_are_in_no_list_of_results(own_model: Path) -> None:
    seen = UsedEmbeddings("wav2vec2-emotion-ravdess@1", VOICE.dim, ("ravdess",), True)
    header = card_of(own_model, make_info(backbones={Modality.VIDEO: FACE, Modality.AUDIO: seen}))
    listed = {result["dataset"]["type"] for result in header["model-index"][0]["results"]}
    assert listed == {"cremad"}
    info = make_info()
    small = replace(info, settings={**info.settings, "run": {"size": "small"}})
    assert "model-index" not in card_of(own_model, small)


def test_what_people_wrote_stays(own_model: Path) -> None:
    text = (
        "---\ntags:\n- mine\nlanguage: fr\nmodel-index:\n- name: x\n  results: []\n---\n# Mine\n\n"
        "Trained on CREMA-D and ravdess, with care.\n\n## Use\n\nAs you like.\n"
    )
    (own_model / "README.md").write_text(text)
    card = plan_push(own_model, NAME).card
    header = header_of(card)
    assert "# Mine\n\nTrained on CREMA-D and ravdess, with care." in card
    assert card.count("## Use") == 1
    assert header["tags"][:2] == ["facevoice", "mine"]
    assert header["language"] == "fr"
    assert header["model-index"][0]["name"] == "tiny"
    assert header["license"] == "other"


def test_a_card_that_says_nothing_of_the_data_is_refused(own_model: Path) -> None:
    (own_model / "README.md").write_text("# My net\n\nTrained on CREMA-D.\n")
    with pytest.raises(WeightsError, match=r"README\.md: says nothing of the data; name ravdess"):
        plan_push(own_model, NAME)
    (own_model / "README.md").write_text("---\n- 1\n: :\n---\nravdess, cremad\n")
    with pytest.raises(WeightsError, match=r"README\.md: its header is broken"):
        plan_push(own_model, NAME)
    with pytest.raises(WeightsError, match="names no data"):
        card_of(own_model, make_info(corpora=()))


def test_the_terms_of_every_corpus_and_backbone_are_understood() -> None:
    nc, sa, nd = "non-commercial use only", "to be shared under the same terms", "no derivatives"
    found = dict(zip(corpus_names(), find_sources(corpus_names()), strict=True))
    terms = {name: source.terms for name, source in found.items()}
    assert terms["ravdess"] == {nc, sa}
    assert terms["tess"] == {nc, nd}
    assert terms["cremad"] == frozenset()
    others = {name: terms for name, terms in terms.items() if name not in ("cremad", "tess")}
    assert all(found and "terms not known" not in found for found in others.values()), others
    for name, source in zip(PRETRAINED, find_sources((), PRETRAINED), strict=True):
        assert source.terms == ({nc} if name.startswith("videomae") else set())
    unknown = find_sources(["my-films"], ["hub:someone/else@1"])
    assert [source.terms for source in unknown] == [{"terms not known"}] * 2
    assert find_sources((), ["compact-face@1"])[0].terms == {"research use only"}


@pytest.mark.parametrize(
    ("corpora", "backbones", "wanted", "chosen"),
    [
        (["ravdess"], ["wav2vec2-base"], None, "cc-by-nc-sa-4.0"),
        (["ravdess"], ["videomae-base"], None, "cc-by-nc-sa-4.0"),
        (["cremad"], ["videomae-base"], None, "cc-by-nc-4.0"),
        (["cremad"], ["wav2vec2-base"], None, None),
        (["ravdess", "iemocap"], [], None, "other"),
        (["cremad"], [], "mit", "mit"),
        ([], ["videomae-base"], "cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0"),
    ],
)
def test_the_strictest_terms_hold(
    corpora: list[str], backbones: list[str], wanted: str | None, chosen: str | None
) -> None:
    assert choose_license(find_sources(corpora, backbones), wanted) == chosen


def test_a_licence_can_not_loosen_the_terms(own_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"'mit' is not allowed.*non-commercial.*RAVDESS: CC BY"):
        plan_push(own_model, NAME, license="mit")
    text = (own_model / "README.md").read_text().replace("---\n", "---\nlicense: mit\n", 1)
    (own_model / "README.md").write_text(text)
    with pytest.raises(ConfigError, match="licence 'mit' is not allowed"):
        plan_push(own_model, NAME)
    free = make_info(corpora=("cremad",), backbones=FREE)
    assert "license" not in card_of(own_model, free)
    assert card_of(own_model, free, "mit")["license"] == "mit"


# Getting.


@pytest.fixture
def published(hub: HubWriteServer, model: Path) -> str:
    """The commit of a checkpoint on the hub, beside files that nobody should fetch."""
    push(hub, model)
    more = dict.fromkeys(("model.bin", "a.pkl", "b.py", "c.json"), PICKLE)
    return hub.repositories[NAME].commit({**hub.head(NAME), **more})


def test_only_a_checkpoints_files_are_fetched(
    hub: HubWriteServer, published: str, tmp_path: Path
) -> None:
    hub.asked.clear()
    pulled = pull(hub, tmp_path)
    assert pulled.commit == published
    assert {path.name for path in pulled.folder.iterdir()} == SENT
    fetched = {asked.rpartition("/")[2] for asked in hub.asked if "/resolve/" in asked}
    assert fetched == SENT


def test_a_commit_pins_the_bytes(
    hub: HubWriteServer, published: str, model: Path, tmp_path: Path
) -> None:
    new = push(hub, write_model(model.parent / "newer", seed=2)).commit
    assert new != published
    old = pull(hub, tmp_path, revision=published)
    assert (old.folder / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()
    assert pull(hub, tmp_path).commit == new
    hub.asked.clear()
    assert pull(hub, tmp_path, revision=published).folder == old.folder
    assert hub.asked == []  # cached whole: nothing to ask


def test_offline_the_cache_serves(model: Path, tmp_path: Path) -> None:
    with HubWriteServer().running() as hub:
        assert isinstance(hub, HubWriteServer)
        commit = push(hub, model).commit
        first = pull(hub, tmp_path)
    again = pull(hub, tmp_path)  # the hub is gone
    assert (again.commit, again.folder) == (commit, first.folder)
    with pytest.raises(WeightsError, match=r"someone/none@main: not in the cache.*HF_HUB_OFFLINE"):
        pull(hub, tmp_path, "someone/none")


def test_damage_in_the_cache_is_mended_and_damage_at_the_source_told(
    hub: HubWriteServer, published: str, model: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    damage((pull(hub, cache).folder / WEIGHTS).resolve())
    assert (pull(hub, cache).folder / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()

    content = hub.head(NAME)[WEIGHTS]
    hub.broken[WEIGHTS] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(WeightsError, match=r"model\.safetensors: SHA-256 is"):
        pull(hub, tmp_path / "other", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_repositories_that_hold_no_checkpoint(hub: HubWriteServer, tmp_path: Path) -> None:
    hub.repository(NAME).commit({"config.json": b"{}", "pytorch_model.bin": PICKLE})
    with pytest.raises(WeightsError, match=r"holds no checkpoint\.json"):
        pull(hub, tmp_path)
    assert not [asked for asked in hub.asked if "pytorch_model" in asked]
    with pytest.raises(WeightsError, match="nobody/none@main: no such repository, or it is priv"):
        pull(hub, tmp_path, "nobody/none")
    with pytest.raises(WeightsError, match=f"{NAME}@v9: no such revision"):
        pull(hub, tmp_path, revision="v9")
    hub.repositories[NAME].gated = True
    with pytest.raises(WeightsError, match="access must be granted"):
        pull(hub, tmp_path / "other")


def test_a_folder_of_ones_own(hub: HubWriteServer, published: str, tmp_path: Path) -> None:
    out, cache = tmp_path / "mine", tmp_path / "cache"
    pulled = pull(hub, cache, out=out)
    assert pulled.folder == out
    assert {path.name for path in out.iterdir()} == {*SENT, ORIGIN_FILE}
    assert not any(path.is_symlink() for path in out.iterdir())
    origin = json.loads((out / ORIGIN_FILE).read_text())
    assert origin == {"repository": NAME, "commit": published}
    with pytest.raises(ConfigError, match=r"holds a checkpoint already.*--overwrite"):
        pull(hub, cache, out=out)
    pull(hub, cache, out=out, overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        pull(hub, cache, out=tmp_path / "other", overwrite=True)


def test_from_pretrained_tells_folders_from_names(tmp_path: Path) -> None:
    for name in ("./none/here", "/none/here", "nothing", "a/b/c", tmp_path / "none"):
        with pytest.raises(ConfigError, match="no such folder, and no OWNER/NAME"):
            from_pretrained(name)
    with pytest.raises(WeightsError, match="is neither a checkpoint"):
        from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is a folder: it has no revision"):
        from_pretrained(tmp_path, revision="main")


def test_from_pretrained_gives_an_analyzer_that_runs(hub: HubWriteServer, tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "examples" / "smile_glad_voice.mp4"
    runnable = write_model(tmp_path / "runnable", make_runnable_info())
    commit = push(hub, runnable).commit
    loaded = facevoice.from_pretrained(
        NAME, revision=commit, endpoint=hub.url, cache_dir=tmp_path / "cache"
    )
    reports = [each.analyze(sample) for each in (loaded, facevoice.from_pretrained(runnable))]
    fused = [report.windows[0].fused for report in reports]
    assert fused[0] is not None
    assert fused[1] is not None
    assert (fused[0].probs == fused[1].probs).all()

    # What the card says how to use it is as true of the folder.
    card = plan_push(runnable, NAME).card
    code = card.partition("```python\n")[2].partition("```")[0]
    code = code.replace(NAME, str(runnable)).replace("talk.mp4", str(sample))
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sentence, *moments = said.stdout.splitlines()
    assert sentence == summarize_in_words(reports[0])
    assert len(moments) == len(reports[0].moments)
    assert moments[0].endswith(f" s: {reports[0].moments[0].outcome}")


# The commands.


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_dry_run_lists_everything_and_asks_nobody(
    model: Path, own_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    said = run("push", model, NAME, "--dry-run")
    for name, num_bytes, sha256 in plan_push(model, NAME).files():
        assert name in said
        assert sha256 in said
        assert f"{num_bytes:,}" in said
    assert "license_name: non-commercial-research-share-alike" in said
    assert f"Nothing was sent. Would go to {NAME}, branch main: 9 files" in said
    assert "no token: set HF_TOKEN" in run("push", model, NAME, code=1)
    assert "write OWNER/NAME" in run("push", model, "tiny", "--dry-run", code=2)
    assert "No licence" not in said
    assert "is not allowed" in run("push", model, NAME, "--dry-run", "--license", "mit", code=2)
    write_model(own_model, make_info(corpora=("cremad",), backbones=FREE))
    assert "No licence is named" in run("push", own_model, NAME, "--dry-run")


def test_the_commands_obey_the_environment(
    hub: HubWriteServer, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    pushed = run("push", model, NAME, "--message", "From the shell")
    commit = hub.repositories[NAME].refs["main"]
    assert f"{NAME} is at commit {commit}" in pushed
    assert hub.messages == ["From the shell"]
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ""}
    # A busy machine may be slow to answer itself.
    environment |= {"HF_HUB_ETAG_TIMEOUT": "60", "HF_HUB_DOWNLOAD_TIMEOUT": "60"}

    def pull_apart(*options: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "facevoice", "pull", NAME, *options],
            env={**os.environ, **environment, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(pull_apart("--quiet").strip()).name == commit
    hub.asked.clear()
    assert f"{NAME}@{commit}" in pull_apart(HF_HUB_OFFLINE="1")
    assert hub.asked == []


def test_without_the_library_the_extra_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: plan_push(model, NAME), lambda: pull_checkpoint(NAME)):
        with pytest.raises(MissingExtraError, match=r"\[full\]"):
            call()
