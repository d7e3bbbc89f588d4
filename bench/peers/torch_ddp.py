"""Training steps of PyTorch's DistributedDataParallel over Gloo, one thread a rank, Adam.

    torchrun --standalone --nproc-per-node W torch_ddp.py [WORK …]

The global batch is shared out over the ranks. Measures the models of these works, or all; prints one JSON line a model.
"""

import json
import statistics
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

WARM_UP_STEPS = 5
SAMPLES = 5


def perceptron(units: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 10)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
    )


# name, model, shape of a sample, global batch, steps a sample
WORKS = [
    ("step-mlp512", lambda: perceptron(512), (784,), 256, 12),
    ("step-mlp2048", lambda: perceptron(2048), (784,), 256, 4),
    ("step-cnn", convolutional, (1, 28, 28), 128, 4),
]


def measure(model: nn.Module, shape: tuple[int, ...], rows: int, steps: int) -> list[float]:
    """Seconds a step, one figure a sample."""
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(ddp.parameters(), 1e-3)
    features, labels = torch.randn(rows, *shape), torch.randint(0, 10, (rows,))

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
    for work, model, shape, batch, steps in WORKS:
        if work not in chosen:
            continue
        seconds = measure(model(), shape, batch // world, steps)
        if dist.get_rank() == 0:
            rate = batch // world * world / statistics.median(seconds)
            line = {"work": work, "world": world, "samples_s": rate, "samples_ms": [1000 * s for s in seconds]}
            print(json.dumps(line), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
