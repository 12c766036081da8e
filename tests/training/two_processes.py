"""One of several processes that train together; a test starts it with Accelerate's variables.

python two_processes.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from accelerate import PartialState

from training_builders import train_without_dropout

if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(f"processes: {PartialState(cpu=True).num_processes}\n")
    train_without_dropout(Path(sys.argv[1]))
