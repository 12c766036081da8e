"""Write docs/faults.md from the cases of tests/faults.

python docs/make_faults.py            writes docs/faults.md
python docs/make_faults.py --check    exits 1 if it is not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

TARGET = Path(__file__).with_name("faults.md")
sys.path.append(str(Path(__file__).parents[1] / "tests"))

from faults.corpus import describe_corpus  # noqa: E402 - found by the line above


def main() -> int:
    """Write the page, or compare it."""
    text = describe_corpus()
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
