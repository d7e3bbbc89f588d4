"""One rank of PyTorch's Gloo all-reduce over loopback, one thread; the benchmark starts as many as it wants.

    python gloo_allreduce.py RANK WORLD FILE

FILE is one that all ranks name and that does not exist yet: they find each other through it. Then each line of input is
`BYTES REPEATS`: that many all-reduces of that many bytes of float32, answered by the milliseconds of one.
"""

import os
import sys
import time

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch
import torch.distributed as dist


def main() -> None:
    rank, world, file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    tensors: dict[int, torch.Tensor] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        size_bytes, repeats = (int(word) for word in line.split())
        if size_bytes not in tensors:
            tensors[size_bytes] = torch.zeros(size_bytes // 4)  # sums of zeros stay zero, however often they are summed
            dist.all_reduce(tensors[size_bytes])
        tensor = tensors[size_bytes]
        dist.all_reduce(tensor)
        dist.barrier()
        begun = time.perf_counter()
        for _ in range(repeats):
            dist.all_reduce(tensor)
        print(1000 * (time.perf_counter() - begun) / repeats, flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
