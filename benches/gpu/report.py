"""Makes one JSON file and one table of what `scripts/gpu-check.sh run` found.

Usage: report.py FOLDER, with the files that the script wrote: facts.json (nvidia-smi), steps.tsv, peers.jsonl, bench.jsonl. Missing
ones are left out. Writes gpu-DEVICE.json into the folder, or says that there was no GPU.
"""

import csv
import datetime
import json
import re
import sys
from pathlib import Path

HEADINGS = ["metric", "ours", "peer", "which peer", "goal", "met"]


def lines(path: Path) -> list[dict]:
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # a line for people
    return found


def figure(value: float | None) -> str:
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def cells(row: dict) -> list[str]:
    unit = f" ({row['unit']})" if row["unit"] else ""
    met = {True: "yes", False: "NO", None: ""}[row["met"]]
    return [row["metric"] + unit, figure(row["ours"]), figure(row["peer"]), row["peer_name"] or "", row["goal"] or "", met]


def table(rows: list[dict]) -> str:
    all_cells = [HEADINGS] + [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in all_cells) for column in range(len(HEADINGS))]

    def padded(line: list[str]) -> str:
        parts = [cell.rjust(w) if column in (1, 2) else cell.ljust(w) for column, (cell, w) in enumerate(zip(line, widths))]
        return "  ".join(parts).rstrip()

    return "\n".join(padded(line) for line in all_cells)


def main() -> None:
    folder = Path(sys.argv[1])
    bench, peers = lines(folder / "bench.jsonl"), lines(folder / "peers.jsonl")
    rows = [line for line in bench if "metric" in line]
    with (folder / "steps.tsv").open() as file:
        steps = [dict(zip(("name", "result", "seconds"), line)) for line in csv.reader(file, delimiter="\t")]
    facts = next(iter(lines(folder / "facts.json")), {})
    if not rows:
        print("no figures: no GPU was measured")
        return
    device = facts.get("name", "unknown")
    report = {
        "bench": "gpu",
        "date": datetime.date.today().isoformat(),
        **facts,
        "steps": steps,
        "rows": rows,
        "failed_parts": [line for line in bench if "failed" in line],
        "peers": peers,
    }
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    path = folder / f"gpu-{name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    goals = [row["met"] for row in rows if row["met"] is not None]
    print(f"{device}, driver {facts.get('driver', '?')}, CUDA {facts.get('cuda', '?')}\n")
    print(table(rows))
    for line in report["failed_parts"]:
        print(f"not measured: {line['failed']}: {line['error']}")
    print(f"\n{sum(goals)} of {len(goals)} goals met; wrote {path}")


if __name__ == "__main__":
    main()
