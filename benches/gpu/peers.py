"""What people do today instead of consolidating: PyTorch copies a tensor of 4 GiB to the host, and back.

Prints one JSON object per line; a peer's rate is in bytes of the tensor. Needs PyTorch with CUDA; says so where there is none.
Usage: peers.py [MIB]
"""

import json
import statistics
import sys
import time

ROUNDS = 7


def say(**line) -> None:
    print(json.dumps(line), flush=True)


def median(torch, size: int, call) -> float:
    """GB/s of a call, which is over when the card is."""
    seconds = []
    for _ in range(1 + ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return size / statistics.median(seconds[1:]) / 1e9


def main() -> None:
    try:
        import torch
    except ImportError as error:
        say(skipped=f"no PyTorch: {error}")
        return
    if not torch.cuda.is_available():
        say(skipped="no GPU that PyTorch can use")
        return
    size = (int(sys.argv[1]) if len(sys.argv) > 1 else 4096) << 20
    tensor = torch.randn(size // 4, device="cuda", dtype=torch.float32)
    say(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        device=torch.cuda.get_device_name(),
        allocated_bytes=torch.cuda.memory_allocated(),
        reserved_bytes=torch.cuda.memory_reserved(),
    )

    def peer(name: str, call) -> None:
        say(peer=f"PyTorch, {name}", gb_per_s=median(torch, size, call))

    peer("tensor.cpu()", tensor.cpu)
    pinned = torch.empty(size // 4, dtype=torch.float32, pin_memory=True)
    peer("pinned, non_blocking, to the host", lambda: pinned.copy_(tensor, non_blocking=True))
    peer("pinned, non_blocking, to the card", lambda: tensor.copy_(pinned, non_blocking=True))
    peer("copy within the card, read and written", lambda: tensor[: size // 8].copy_(tensor[size // 8 :]))


if __name__ == "__main__":
    main()
