"""How loud a sound is to people: integrated loudness by ITU-R BS.1770.

FFmpeg measures the same (filter `ebur128`), but hands its result on in a way that PyAV shows from
version 18 only; the tests compare the two.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from facevoice.types import DoubleArray, FloatArray

BLOCK_S: Final = 0.4
"""Loudness is that of blocks of this length; a shorter sound has none."""
_STEP_S: Final = 0.1
_MOMENT_S: Final = 0.02
_ABSOLUTE_GATE_LUFS: Final = -70.0
_RELATIVE_GATE_LU: Final = -10.0
# Long enough for the weighting filter to die away before the transform wraps around.
_PADDING_S: Final = 0.5


def integrated_loudness_lufs(samples: FloatArray, rate_hz: int) -> float | None:
    """Loudness of a mono sound (N,), full scale ±1; None where all is silence or it is too short.

    ITU-R BS.1770-4, annex 1: mean square of the K-weighted sound in blocks of 400 ms, each 100 ms
    after the last; of the blocks above −70 LUFS, those are averaged that are not more than 10 LU
    below their mean.
    """
    block, step = round(BLOCK_S * rate_hz), round(_STEP_S * rate_hz)
    if len(samples) < block:
        return None
    power = np.concatenate([[0.0], np.cumsum(_weigh(samples, rate_hz) ** 2)])
    starts = np.arange(0, len(samples) - block + 1, step)
    blocks = np.maximum(power[starts + block] - power[starts], 0.0) / block
    blocks = blocks[blocks > _power(_ABSOLUTE_GATE_LUFS)]
    if not len(blocks):
        return None
    gate = blocks.mean() * 10 ** (_RELATIVE_GATE_LU / 10)
    return _lufs(float(blocks[blocks > gate].mean()))


def peak_dbfs(samples: FloatArray) -> float | None:
    """The largest sample in dB of full scale; None where all is silence."""
    peak = float(np.abs(samples).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else None


def sounding_span_s(
    samples: FloatArray, rate_hz: int, floor_db: float = -25.0
) -> tuple[float, float] | None:
    """Start and end of all that is louder than `floor_db` below the loudest moment.

    Moments are means over 20 ms. In a noisy recording it is all of it; None where all is silence.
    """
    size = round(_MOMENT_S * rate_hz)
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    starts = np.arange(0, max(1, len(samples) - size + 1), max(1, size // 4))
    ends = np.minimum(starts + size, len(samples))
    moments = power[ends] - power[starts]
    if not moments.max(initial=0.0) > 0:
        return None
    loud = np.flatnonzero(moments >= moments.max() * 10 ** (floor_db / 10))
    return float(starts[loud[0]] / rate_hz), float(ends[loud[-1]] / rate_hz)


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _weigh(samples: FloatArray, rate_hz: int) -> DoubleArray:
    """The K-weighted sound, by its frequency response."""
    size = 1 << (len(samples) + round(_PADDING_S * rate_hz)).bit_length()
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * _k_weighting(size, rate_hz)
    return np.asarray(np.fft.irfft(spectrum, size)[: len(samples)], np.float64)


def _k_weighting(size: int, rate_hz: int) -> DoubleArray:
    """Response of the two filters of BS.1770, which states them as coefficients at 48 kHz.

    For other rates they are designed anew by the bilinear transform: a high shelf of 4 dB (the
    head) and a high pass at 38 Hz, with the parameters that give the stated coefficients at 48 kHz.
    """
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    gain, lift = 10 ** (3.999843853973347 / 20), 10 ** (3.999843853973347 * 0.4996667741545416 / 20)
    k, q = math.tan(math.pi * 1681.974450955533 / rate_hz), 0.7071752369554196
    shelf = _section(
        delay,
        (gain + lift * k / q + k * k, 2 * (k * k - gain), gain - lift * k / q + k * k),
        (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k),
    )
    k, q = math.tan(math.pi * 38.13547087602444 / rate_hz), 0.5003270373238773
    poles = (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)
    # As in the standard, the zeros are not scaled by the first pole coefficient.
    high_pass = _section(delay, (poles[0], -2 * poles[0], poles[0]), poles)
    response: DoubleArray = shelf * high_pass
    return response


def _section(
    delay: DoubleArray, zeros: tuple[float, float, float], poles: tuple[float, float, float]
) -> DoubleArray:
    top = zeros[0] + zeros[1] * delay + zeros[2] * delay**2
    bottom = poles[0] + poles[1] * delay + poles[2] * delay**2
    ratio: DoubleArray = top / bottom
    return ratio
