"""A camera and a microphone that Chromium plays from files."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from facevoice.media import read_audio
from facevoice.records import SAMPLE_RATE_HZ
from portraits import paint_talking

SPEECH = Path(__file__).parents[1] / "examples" / "smile_frightened_voice.mp4"
SIZE_PX = (640, 480)
_FPS = 30


def make_devices(folder: Path) -> tuple[Path, Path]:
    """A camera that shows who talks, a microphone that hears the speech of a sample clip."""
    camera, microphone = folder / "camera.mjpeg", folder / "microphone.wav"
    write_camera(camera, [portrait_4_to_3(k / _FPS) for k in range(_FPS)])
    write_microphone(microphone, SPEECH)
    return camera, microphone


def file_devices(devices: tuple[Path, Path]) -> tuple[str, ...]:
    """Chromium's arguments for these files as its only devices, played again and again.

    Pages get them if their context has the permissions "camera" and "microphone".
    """
    camera, microphone = devices
    return (
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        f"--use-file-for-fake-audio-capture={microphone}",
        "--autoplay-policy=no-user-gesture-required",
    )


def portrait_4_to_3(time_s: float) -> np.ndarray:
    """The portrait that talks as uint8 (480, 640, 3), bands beside it."""
    width, height = SIZE_PX
    picture = np.full((height, width, 3), 90, np.uint8)
    left = (width - height) // 2
    square = Image.fromarray(paint_talking(0, time_s)).resize((height, height))
    picture[:, left : left + height] = np.asarray(square)
    return picture


def write_camera(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """One second of pictures as MJPEG."""
    with av.open(str(path), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=_FPS)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p"
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_microphone(path: Path, clip: Path) -> None:
    """The sound of a clip as 16-bit WAV."""
    samples = np.concatenate([block.samples for block in read_audio(clip)])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
