"""Training steps of PyTorch's DistributedDataParallel over Gloo, one thread a rank, Adam.

    torchrun --standalone --nproc-per-node W torch_ddp.py [WORK …]

The global batch is shared out over the ranks. Measures the models of these works, or all; prints one JSON line a model.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

WARM_UP_STEPS = 5
SAMPLES = 5
CHARACTERS = 65


def perceptron(units: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 10)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
    )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, 32)
        self.lstm = nn.LSTM(32, 64, batch_first=True)
        self.output = nn.Linear(64, CHARACTERS)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(self.embedding(text))
        return self.output(outputs[:, -1])


def numbers(*shape: int) -> Callable[[int], torch.Tensor]:
    return lambda rows: torch.randn(rows, *shape)


def text(rows: int) -> torch.Tensor:
    return torch.randint(0, CHARACTERS, (rows, 32))


# name, model, a batch of so many rows, classes, global batch, steps a sample
WORKS = [
    ("step-mlp512", lambda: perceptron(512), numbers(784), 10, 256, 12),
    ("step-mlp2048", lambda: perceptron(2048), numbers(784), 10, 256, 4),
    ("step-cnn", convolutional, numbers(1, 28, 28), 10, 128, 4),
    ("step-lstm", Recurrent, text, CHARACTERS, 64, 12),
]


def measure(model: nn.Module, features: torch.Tensor, classes: int, steps: int) -> list[float]:
    """Seconds a step, one figure a sample."""
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(ddp.parameters(), 1e-3)
    labels = torch.randint(0, classes, (len(features),))

    def step() -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(ddp(features), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    for _ in range(WARM_UP_STEPS):
        step()
    seconds = []
    for _ in range(SAMPLES):
        dist.barrier()
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        dist.barrier()
        seconds.append((time.perf_counter() - begun) / steps)
    return seconds


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    world = dist.get_world_size()
    chosen = sys.argv[1:] or [work for work, *_ in WORKS]
    for work, model, rows, classes, batch, steps in WORKS:
        if work not in chosen:
            continue
        seconds = measure(model(), rows(batch // world), classes, steps)
        if dist.get_rank() == 0:
            rate = batch // world * world / statistics.median(seconds)
            line = {"work": work, "world": world, "samples_s": rate, "samples_ms": [1000 * s for s in seconds]}
            print(json.dumps(line), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
