"""What both recovery programs train, as lockstep's benchmark does: 784-512-10 with Adam, 64 rows a worker."""

import torch
from torch import nn

ROWS = 64


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))


def make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(ROWS, 784), torch.randint(0, 10, (ROWS,))
