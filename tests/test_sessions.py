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
    assert hashlib.sha256(sessions.read_weights(name)).hexdigest() == entry.sha256
    assert (WEIGHTS / entry.card).read_text("utf-8").strip()
    assert entry.license


def test_a_network_opens_with_its_id():
    session, model = sessions.load_session("mtcnn_rnet")
    assert model.name == "mtcnn_rnet"
    assert model.sha256 == INDEX["mtcnn_rnet"]["sha256"]
    (scores,) = session.run(["scores"], {"pictures": np.zeros((2, 24, 24, 3), np.uint8)})
    assert scores.shape == (2, 1)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(WeightsError, match=r"'nonesuch'; known: .*mtcnn_onet"):
        sessions.load_session("nonesuch")


def test_a_file_that_was_tampered_with_is_not_opened(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes((WEIGHTS / "mtcnn_pnet.onnx").read_bytes() + b"\0")
    with pytest.raises(WeightsError, match=r"net\.onnx: SHA-256 is .*, expected"):
        sessions.load_session_file(path, name="net", sha256=INDEX["mtcnn_pnet"]["sha256"])


def test_a_file_from_elsewhere_opens_by_its_hash(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes((WEIGHTS / "mtcnn_pnet.onnx").read_bytes())
    sha256 = INDEX["mtcnn_pnet"]["sha256"]
    session, model = sessions.load_session_file(path, name="net", sha256=sha256)
    assert model == facevoice.records.ModelId("net", sha256)
    assert [i.name for i in session.get_inputs()] == ["pictures"]


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.onnx: can't be read \(No such file"):
        sessions.load_session_file(tmp_path / "gone.onnx", name="gone", sha256="0" * 64)


def test_bytes_that_are_no_network_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"not a network")
    sha256 = hashlib.sha256(b"not a network").hexdigest()
    with pytest.raises(WeightsError, match=r"onnxruntime can't open it"):
        sessions.load_session_file(path, name="net", sha256=sha256)


@pytest.mark.parametrize(
    ("index", "message"),
    [(None, "can't be read"), ("{", "can't be read"), ('{"net": {"file": "x"}}', "lacks 'sha256'")],
)
def test_a_damaged_index_is_said(tmp_path, monkeypatch, index, message):
    (tmp_path / "weights").mkdir()
    if index is not None:
        (tmp_path / "weights" / "index.json").write_text(index)
    monkeypatch.setattr(sessions.resources, "files", lambda _: tmp_path)
    with pytest.raises(WeightsError, match=message):
        sessions.weights_entry("net")
