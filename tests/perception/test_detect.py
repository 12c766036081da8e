import numpy as np
import pytest

from facevoice.errors import ConfigError
from facevoice.people import detect
from facevoice.people.detect import MtcnnDetector
from facevoice.records import ModelId


class Blind:
    model = ModelId("blind", "0" * 64)

    def __init__(self, *, min_face_px: int, min_score: float) -> None:
        self.settings = (min_face_px, min_score)

    def detect(self, rgb):
        return detect.no_detections()

    def refine(self, rgb, boxes_xyxy):
        return detect.no_detections()


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch):
    monkeypatch.setattr(detect, "_FACTORIES", dict(detect._FACTORIES))


def test_mtcnn_is_built_by_name_and_names_its_weights():
    found = detect.create_detector("mtcnn", min_face_px=40, min_score=0.9)
    assert isinstance(found, MtcnnDetector)
    assert found.model.name == "mtcnn_onet"
    assert len(found.model.sha256) == 64


def test_a_registered_detector_gets_the_settings():
    detect.register_detector("blind", Blind)
    assert detect.create_detector("blind", min_face_px=33, min_score=0.7).settings == (33, 0.7)
    assert detect.list_detectors() == ("blind", "mtcnn")


def test_a_name_is_given_once():
    with pytest.raises(ConfigError, match="'mtcnn' is registered already"):
        detect.register_detector("mtcnn", Blind)


def test_a_miss_lists_the_choices():
    detect.register_detector("blind", Blind)
    with pytest.raises(ConfigError, match=r"'yunet'; choose from: blind, mtcnn"):
        detect.create_detector("yunet", min_face_px=40, min_score=0.9)


def test_no_detections_is_empty():
    empty = detect.no_detections()
    assert len(empty) == 0
    assert empty.boxes_xyxy.dtype == np.float32
