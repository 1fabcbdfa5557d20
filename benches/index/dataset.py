"""Data sets as the bench keeps them: a folder of raw little-endian files, which every language can map.

`database.f32` and `queries.f32` hold normalised vectors one after the other, `meta.json` their counts and dimension.
`truth-N.u32` holds, for every query, the numbers of the ten nearest among the first N database vectors, nearest first;
it is made when it is first asked for.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

K = 10
# Candidates that a product in float32 finds, for float64 to choose the nearest K from.
SPARE = 10
CHUNK = 50_000


def write(folder: Path, database: Iterable[np.ndarray], queries: np.ndarray) -> None:
    """Writes a whole data set, its database in parts, beside `folder`, then renames it: what exists is complete."""
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = 0
    with (partial / "database.f32").open("wb") as file:
        for part in database:
            file.write(part.astype("<f4", copy=False).tobytes())
            rows += len(part)
    queries.astype("<f4", copy=False).tofile(partial / "queries.f32")
    meta = {"rows": rows, "queries": len(queries), "dimension": queries.shape[1]}
    (partial / "meta.json").write_text(json.dumps(meta))
    partial.rename(folder)


def read(folder: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `rows` vectors of the database, mapped, and the queries, in memory."""
    dimension = json.loads((Path(folder) / "meta.json").read_text())["dimension"]
    database = np.memmap(Path(folder) / "database.f32", dtype="<f4", mode="r").reshape(-1, dimension)
    queries = np.fromfile(Path(folder) / "queries.f32", dtype="<f4").reshape(-1, dimension)
    if not K <= rows <= len(database):
        raise ValueError(f"{folder} has {len(database)} vectors, {rows} were wanted")
    return database[:rows], queries


def truth(folder: str, rows: int) -> dict:
    """Makes sure of the exact answers among the first `rows` vectors, and says in which file they are."""
    path = Path(folder) / f"truth-{rows}.u32"
    if not path.is_file():
        partial = path.with_suffix(f".partial-{os.getpid()}")
        nearest(*read(folder, rows)).tofile(partial)
        partial.rename(path)
    return {"path": str(path), "k": K}


def nearest(database: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The numbers of the K nearest by inner product, of equals the lower first."""
    best_scores = np.empty((len(queries), 0), dtype=np.float32)
    best = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(database), CHUNK):
        scores = queries @ np.asarray(database[start : start + CHUNK]).T
        numbers = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
        scores = np.concatenate([best_scores, scores], axis=1)
        numbers = np.concatenate([best, numbers], axis=1)
        keep = min(K + SPARE, scores.shape[1])
        order = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
        best_scores, best = np.take_along_axis(scores, order, axis=1), np.take_along_axis(numbers, order, axis=1)
    answers = np.empty((len(queries), K), dtype="<u4")
    for row, (query, candidates) in enumerate(zip(queries, np.sort(best, axis=1), strict=True)):
        scores = np.asarray(database[candidates], dtype=np.float64) @ query.astype(np.float64)
        answers[row] = candidates[np.argsort(-scores, kind="stable")[:K]]
    return answers
