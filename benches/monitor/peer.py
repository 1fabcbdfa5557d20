"""The peer of `cargo xtask bench monitor`: the report of `omnimind memory report`, as one writes it with psutil.

It measures and reports; it judges nothing. Needs this folder's parent in PYTHONPATH, and psutil.
"""

import time

import psutil

from jsonlines import serve


def report(pids: list[int], with_swap: bool) -> dict:
    """The machine, and one service of these processes."""
    ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    rss_bytes, swap_bytes, seen = 0, 0, 0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            # psutil has a process's swap only together with its USS and PSS.
            memory = process.memory_full_info() if with_swap else process.memory_info()
        except psutil.NoSuchProcess:
            continue
        seen += 1
        rss_bytes += memory.rss
        swap_bytes += memory.swap if with_swap else 0
    try:
        with open("/proc/pressure/memory") as pressure:
            some = pressure.readline().split()
    except FileNotFoundError:
        some = []
    return {
        "system": {
            "ram_total_bytes": ram.total,
            "ram_available_bytes": ram.available,
            "ram_percent": ram.percent,
            "swap_total_bytes": swap.total,
            "swap_used_bytes": swap.used,
            "pressure": {field.split("=")[0]: float(field.split("=")[1]) for field in some[1:]},
        },
        "processes": seen,
        "rss_bytes": rss_bytes,
        "swap_bytes": swap_bytes,
    }


def sample(pids: list[int], with_swap: bool, looks: int) -> dict:
    """Looks so many times; the CPU time of one look, and what the last one saw."""
    before = time.process_time()
    for _ in range(looks):
        seen = report(pids, with_swap)
    return {"cpu_s": (time.process_time() - before) / looks, "seen": seen}


if __name__ == "__main__":
    serve(sample)
