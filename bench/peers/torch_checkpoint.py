"""Saves and loads a state of N float32 weights with Adam's two slots, as PyTorch does; one thread.

    python torch_checkpoint.py FILE N

Prints "ready", and then for each line "save" or "load" on standard input the milliseconds that it took. A save is
durable: it ends with fsync. A load reads what was saved last, with torch.load's defaults.
"""

import os
import sys
import time

import torch


def main(file: str, count: int) -> None:
    torch.set_num_threads(1)
    parameter = torch.nn.Parameter(torch.rand(count))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.rand(count)
    optimizer.step()
    parameter.grad = None
    print("ready", flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        if line.strip() == "save":
            with open(file, "wb") as out:
                torch.save({"model": {"weight": parameter.data}, "optimizer": optimizer.state_dict()}, out)
                out.flush()
                os.fsync(out.fileno())
        else:
            state = torch.load(file)
            del state
        print((time.perf_counter() - begun) * 1000, flush=True)
    if os.path.exists(file):
        os.remove(file)


main(sys.argv[1], int(sys.argv[2]))
