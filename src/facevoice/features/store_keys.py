"""What names one stored embedding: content, time, backbone and preprocessing."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_US_PER_S: Final = 1_000_000
_MAX_US: Final = 2**62

# Times that occur are fractions of sample rates, frame rates and container clocks, so many lie
# exactly halfway between two microseconds (1/16000 s is 62.5 µs). Rounding from 0.618 on instead
# of 0.5 puts the border where no such fraction falls; float noise below 1 ns never crosses it.
_ROUND_UP_FROM: Final = 0.618034


@dataclass(frozen=True, slots=True, order=True)
class FeatureKey:
    """The name of one embedding of one modality (a backbone serves exactly one).

    file_sha256: of the whole media file, 64 lower-case hex digits;
    start_us, end_us: the window in whole microseconds of media time;
    backbone: id@revision;
    preprocessing: version of everything between the file's bytes and the backbone's input.

    Raises:
        ValueError: a field breaks these rules.
    """

    file_sha256: str
    start_us: int
    end_us: int
    backbone: str
    preprocessing: str

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.file_sha256):
            raise ValueError(f"file_sha256 is not 64 lower-case hex digits: {self.file_sha256!r}")
        if not -_MAX_US <= self.start_us <= self.end_us <= _MAX_US:
            raise ValueError(f"window out of range: {self.start_us} to {self.end_us} µs")
        if self.end_us == self.start_us:
            raise ValueError(f"window from {self.start_us} µs has no length")
        if not self.backbone or not self.preprocessing:
            raise ValueError("backbone and preprocessing must not be empty")

    @classmethod
    def at(
        cls, file_sha256: str, start_s: float, end_s: float, backbone: str, preprocessing: str
    ) -> FeatureKey:
        """Key of the window from `start_s` to `end_s`; float noise in the times does not matter.

        Raises:
            ValueError: a field breaks the rules, or a time is not finite.
        """
        return cls(file_sha256, whole_us(start_s), whole_us(end_s), backbone, preprocessing)


def whole_us(time_s: float) -> int:
    """Seconds as whole microseconds, the same for all floats within 1 ns of a media time.

    Raises:
        ValueError: `time_s` is not finite.
    """
    if not math.isfinite(time_s):
        raise ValueError(f"time is not finite: {time_s}")
    return math.floor(time_s * _US_PER_S + (1 - _ROUND_UP_FROM))
