"""One of several processes that train together; a test starts it with Accelerate's variables.

python two_processes.py OUT FUSION
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from accelerate import PartialState

from facevoice.training.run import RunOptions, train
from training_builders import SOURCE, make_table, quick_config


def main() -> None:
    torch.set_num_threads(1)
    out, fusion = sys.argv[1:]
    sys.stdout.write(f"processes: {PartialState(cpu=True).num_processes}\n")
    config = quick_config(
        f"network.fusion={fusion}", "train.batch_size=25", "train.num_epochs=1", "train.ema=0.9"
    )
    train(config, make_table(num_tokens=2), Path(out), SOURCE, options=RunOptions(cpu=True))


if __name__ == "__main__":
    main()
