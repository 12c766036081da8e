import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import facevoice
from facevoice import sessions
from facevoice.errors import WeightsError

WEIGHTS = Path(facevoice.__file__).parent / "weights"
INDEX = json.loads((WEIGHTS / "index.json").read_text("utf-8"))


@pytest.mark.parametrize("name", sorted(INDEX))
def test_every_file_of_the_index_is_the_one_named_and_has_a_card(name):
    entry = sessions.weights_entry(name)
    assert hashlib.sha256((WEIGHTS / entry.file).read_bytes()).hexdigest() == entry.sha256
    assert sessions.read_weights(name)
    assert (WEIGHTS / entry.card).read_text("utf-8").strip()
    assert entry.license


def test_a_network_opens_with_its_id():
    session, model = sessions.load_session("yunet")
    assert model.name == "yunet"
    assert model.sha256 == INDEX["yunet"]["sha256"]
    (boxes,) = session.run(["boxes"], {"pictures": np.zeros((2, 32, 64, 3), np.uint8)})
    assert boxes.shape == (2, 4 * 8 + 2 * 4 + 1 * 2, 4)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(WeightsError, match=r"'nonesuch'; known: .*yunet"):
        sessions.load_session("nonesuch")


def test_only_the_very_file_is_read_and_opened(tmp_path):
    path, sha256 = tmp_path / "net.onnx", INDEX["yunet"]["sha256"]
    with pytest.raises(WeightsError, match=r"net\.onnx: can't be read \(No such file.* Buy one"):
        sessions.read_checked(path, sha256, "Buy one.")
    path.write_bytes((WEIGHTS / "yunet.onnx").read_bytes())
    content = sessions.read_checked(path, sha256, "Buy one.")
    for network in (content, path):
        session = sessions.open_session(network, "net")
        assert [i.name for i in session.get_inputs()] == ["pictures"]
    path.write_bytes(content + b"\0")
    with pytest.raises(WeightsError, match=r"net\.onnx: SHA-256 is .*, expected .* Buy one"):
        sessions.read_checked(path, sha256, "Buy one.")
    with pytest.raises(WeightsError, match=r"^net: onnxruntime can't open it"):
        sessions.open_session(b"not a network", "net")


@pytest.mark.parametrize(
    ("index", "message"),
    [(None, "can't be read"), ("{", "is damaged"), ('{"net": {"file": "x"}}', "'sha256'")],
)
def test_a_damaged_index_is_said(tmp_path, monkeypatch, index, message):
    (tmp_path / "weights").mkdir()
    if index is not None:
        (tmp_path / "weights" / "index.json").write_text(index)
    monkeypatch.setattr(sessions.resources, "files", lambda _: tmp_path)
    with pytest.raises(WeightsError, match=message):
        sessions.weights_entry("net")
