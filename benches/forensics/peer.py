"""The peer of `cargo xtask bench forensics`: what one writes who needs to know today. One loop over lines, compiled regular
expressions, and as much of pytest's output and of PyTorch's messages as the log has.

It measures and reports; it judges nothing. Needs this folder's parent in PYTHONPATH, and no packages.
"""

import re
import time
from collections import Counter, defaultdict, deque

from jsonlines import serve

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RESULT = re.compile(r"\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) (\S+?)::(.+?) *$")
BAR = re.compile(r"=+ (.+) =+$")
SECTION = re.compile(r"_+ (?:ERROR at \w+ of )?((?!_ ).+) _+$")
TOTALS = re.compile(r"(\d+) (passed|failed|skipped|error)s?")
OUT_OF_MEMORY = re.compile(r"E +.*(?:CUDA out of memory\. Tried to allocate|RESOURCE_EXHAUSTED: Out of memory)")
KNOWN = {
    "embedding_model_missing": "object has no attribute '_embedding_model'",
    "wrong_model_name": "gpt-4 (provider=ollama",
    "cuda_out_of_memory": "CUDA out of memory. Tried to allocate",
    "illegal_memory_access": "illegal memory access was encountered",
    "device_side_assert": "device-side assert triggered",
    "segmentation_fault": "Segmentation fault",
    "worker_crashed": "' crashed while running",
}

AMOUNT = r"([\d.]+) (bytes|KiB|MiB|GiB)"
REQUESTED = re.compile(f"allocate {AMOUNT}")
TOTAL = re.compile(f"total capac\\w+ of {AMOUNT}|{AMOUNT} total capacity")
FREE = re.compile(f"of which {AMOUNT} is free|{AMOUNT} free;")
ALLOCATED = re.compile(f"{AMOUNT} (?:is allocated by PyTorch|already allocated)")
UNALLOCATED = re.compile(f"{AMOUNT} is reserved by PyTorch but unallocated")
RESERVED = re.compile(f"{AMOUNT} reserved in total by PyTorch")
THIS_PROCESS = re.compile(f"this process has {AMOUNT}")
OTHERS = re.compile(f"Process \\d+ has {AMOUNT}")
UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def amount(pattern: re.Pattern, line: str) -> int | None:
    found = pattern.search(line)
    if found is None:
        return None
    number, unit = [group for group in found.groups() if group is not None]
    return int(float(number) * UNITS[unit])


def cause(line: str) -> str:
    requested, total, free = amount(REQUESTED, line), amount(TOTAL, line), amount(FREE, line)
    allocated, reserved, unallocated = amount(ALLOCATED, line), amount(RESERVED, line), amount(UNALLOCATED, line)
    if requested is None or total is None or free is None or allocated is None:
        return "unknown"
    if reserved is None:
        reserved = allocated + (unallocated or 0)
    this = amount(THIS_PROCESS, line)
    if requested >= 0.9 * total:
        return "one_allocation_too_large"
    if requested <= max(free, reserved - allocated):
        return "fragmentation"
    others = sum(int(float(number) * UNITS[unit]) for number, unit in OTHERS.findall(line))
    if others == 0:
        others = total - free - (this if this is not None else reserved + 512 * UNITS["MiB"])
    if others >= 0.3 * total and others + free >= requested:
        return "competing_processes"
    mine = reserved if this is None else this
    if max(mine, allocated) + requested > total or mine >= 0.7 * (total - free):
        return "card_too_small"
    return "unknown"


def bucket(requested: int) -> int:
    """Where the bucket begins: powers of four from 1 MiB on."""
    bounds = [0] + [(1 << 20) << (2 * power) for power in range(9)]
    return max(bound for bound in bounds if bound <= requested)


def analyze(path: str) -> dict:
    start = time.perf_counter()
    part, test, out_of_memory, lines = "", None, False, 0
    waiting = {"ERRORS": defaultdict(deque), "FAILURES": defaultdict(deque)}
    totals, known, seen = {}, Counter(), set()
    first, by_file, by_cause, by_size = [], Counter(), Counter(), Counter()
    with open(path, encoding="utf-8", errors="replace") as log:
        for lines, line in enumerate(log, 1):
            if "\x1b" in line:
                line = COLOUR.sub("", line)
            if line.startswith("[gw") and (found := RESULT.match(line)):
                status, file, name = found.groups()
                kind = {"ERROR": "ERRORS", "FAILED": "FAILURES"}.get(status)
                if kind:
                    waiting[kind][name.replace("::", ".")].append(f"{file}::{name}")
            elif line.startswith("=") and (found := BAR.match(line)):
                part, test = found[1], None
                if " in " in part:
                    totals = {word: int(number) for number, word in TOTALS.findall(part)}
            elif line.startswith("_") and part in waiting and (found := SECTION.match(line)):
                tests = waiting[part][found[1]]
                test, out_of_memory = tests.popleft() if tests else found[1], False
            elif test and not out_of_memory and OUT_OF_MEMORY.match(line):
                out_of_memory = True
                first.append([test, lines])
                by_file[test.split("::")[0]] += 1
                by_cause[cause(line)] += 1
                by_size[str(bucket(amount(REQUESTED, line)))] += 1
            for name, literal in KNOWN.items():
                # The summary says again what the sections said.
                if literal in line and part != "short test summary info" and (test is None or (test, name) not in seen):
                    known[name] += 1
                    seen.add((test, name))
    seconds = time.perf_counter() - start
    run = totals["passed"] + totals["failed"] + totals.get("error", 0)
    findings = {
        "lines": lines,
        "tests": [run, totals["passed"], totals["failed"], totals.get("error", 0), totals.get("skipped", 0)],
        "ooms": len(first),
        "first_ooms": first[:10],
        "by_file": by_file,
        "by_cause": by_cause,
        "by_size": by_size,
        "known": known,
    }
    return {"seconds": seconds, "findings": findings}


if __name__ == "__main__":
    serve(analyze)
