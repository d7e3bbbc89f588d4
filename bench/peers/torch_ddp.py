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
CHARACTERS = 64
GPT_CONTEXT, GPT_WIDTH, GPT_LAYERS, GPT_HEADS = 64, 128, 4, 4


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


class Block(nn.Module):
    """Of a GPT: attention to what came before, then a perceptron, each beside what goes on as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(GPT_WIDTH)
        self.attention = nn.Linear(GPT_WIDTH, 3 * GPT_WIDTH)
        self.attended = nn.Linear(GPT_WIDTH, GPT_WIDTH)
        self.before_thought = nn.LayerNorm(GPT_WIDTH)
        self.thought = nn.Sequential(
            nn.Linear(GPT_WIDTH, 4 * GPT_WIDTH), nn.ReLU(), nn.Linear(4 * GPT_WIDTH, GPT_WIDTH)
        )

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        in_heads = (len(state), GPT_CONTEXT, GPT_HEADS, GPT_WIDTH // GPT_HEADS)
        parts = self.attention(self.before_attention(state)).split(GPT_WIDTH, 2)
        query, key, value = (part.view(in_heads).transpose(1, 2) for part in parts)
        # PyTorch's own, the fastest that it has.
        taken = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        state = state + self.attended(taken.transpose(1, 2).reshape(state.shape))
        return state + self.thought(self.before_thought(state))


class Gpt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, GPT_WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(GPT_CONTEXT, GPT_WIDTH))
        self.blocks = nn.Sequential(*[Block() for _ in range(GPT_LAYERS)])
        self.output = nn.Sequential(nn.LayerNorm(GPT_WIDTH), nn.Linear(GPT_WIDTH, CHARACTERS))

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return self.output(self.blocks(self.embedding(text) + self.positions)).transpose(1, 2)


def numbers(*shape: int) -> Callable[[int], torch.Tensor]:
    return lambda rows: torch.randn(rows, *shape)


def text(length: int) -> Callable[[int], torch.Tensor]:
    return lambda rows: torch.randint(0, CHARACTERS, (rows, length))


def classes(count: int, *places: int) -> Callable[[int], torch.Tensor]:
    return lambda rows: torch.randint(0, count, (rows, *places))


# name, model, features and labels of so many rows, global batch, steps a sample
WORKS = [
    ("step-mlp512", lambda: perceptron(512), numbers(784), classes(10), 256, 12),
    ("step-mlp2048", lambda: perceptron(2048), numbers(784), classes(10), 256, 4),
    ("step-cnn", convolutional, numbers(1, 28, 28), classes(10), 128, 4),
    ("step-lstm", Recurrent, text(32), classes(CHARACTERS), 64, 12),
    ("step-gpt", Gpt, text(GPT_CONTEXT), classes(CHARACTERS, GPT_CONTEXT), 12, 12),
]


def measure(model: nn.Module, features: torch.Tensor, labels: torch.Tensor, steps: int) -> list[float]:
    """Seconds a step, one figure a sample."""
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(ddp.parameters(), 1e-3)

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
    for work, model, features, labels, batch, steps in WORKS:
        if work not in chosen:
            continue
        rows = batch // world
        seconds = measure(model(), features(rows), labels(rows), steps)
        if dist.get_rank() == 0:
            rate = rows * world / statistics.median(seconds)
            line = {"work": work, "world": world, "samples_s": rate, "samples_ms": [1000 * s for s in seconds]}
            print(json.dumps(line), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
