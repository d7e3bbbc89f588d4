"""PyTorch's Gloo all-reduce over loopback, one thread a rank.

    torchrun --standalone --nproc-per-node W gloo_allreduce.py

Prints one JSON line a size. `bus_gib_s` is what each rank sends a second: 2 (W - 1) / W of the bytes, over the time.
"""

import json
import statistics
import time

import torch
import torch.distributed as dist

KIB, MIB, GIB = 2**10, 2**20, 2**30

# name, bytes, all-reduces a sample, samples
SIZES = [
    ("allreduce-4KiB", 4 * KIB, 200, 7),
    ("allreduce-1MiB", MIB, 20, 7),
    ("allreduce-25MiB", 25 * MIB, 4, 7),
    ("allreduce-100MiB", 100 * MIB, 2, 5),
]


def measure(size_bytes: int, repeats: int, samples: int) -> list[float]:
    """Seconds an all-reduce of float32, one figure a sample."""
    tensor = torch.zeros(size_bytes // 4)  # sums of zeros stay zero, however often they are summed
    for _ in range(2):
        dist.all_reduce(tensor)
    seconds = []
    for _ in range(samples):
        dist.barrier()
        begun = time.perf_counter()
        for _ in range(repeats):
            dist.all_reduce(tensor)
        dist.barrier()
        seconds.append((time.perf_counter() - begun) / repeats)
    return seconds


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    world = dist.get_world_size()
    for work, size_bytes, repeats, samples in SIZES:
        seconds = measure(size_bytes, repeats, samples)
        if dist.get_rank() == 0:
            bus_gib_s = 2 * (world - 1) / world * size_bytes / GIB / statistics.median(seconds)
            line = {"work": work, "world": world, "bus_gib_s": bus_gib_s, "samples_ms": [1000 * s for s in seconds]}
            print(json.dumps(line), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
