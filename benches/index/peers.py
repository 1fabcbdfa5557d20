"""The peers' side of `cargo xtask bench index`: one process per peer.

Times are taken here, around the peer's own calls only. Searches are single-threaded, and a call takes either all queries
or one, whichever is faster for the peer, so that Python is not what is measured. It measures and reports; it judges nothing.
Needs this folder's parent in PYTHONPATH.
"""

import ctypes
import os
import statistics
import sys
import time
from pathlib import Path

for name in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{name}_NUM_THREADS", "1")

import dataset  # noqa: E402  (the thread settings above must come first)
import numpy as np  # noqa: E402
from dataset import K, truth  # noqa: E402
from jsonlines import serve  # noqa: E402


class Hnswlib:
    """Float32, inner product of normalised vectors."""

    def __init__(self, dimension: int) -> None:
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=dimension)

    def build(self, vectors: np.ndarray, room: int, m: int, ef_construction: int, threads: int) -> None:
        self.index.init_index(len(vectors) + room, M=m, ef_construction=ef_construction)
        self.index.add_items(vectors, num_threads=threads)

    def insert(self, vector: np.ndarray, number: int) -> None:
        self.index.add_items(vector, np.array([number]), num_threads=1)

    def search(self, queries: np.ndarray, ef: int) -> np.ndarray:
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k=K, num_threads=1)[0]

    def save(self, path: str) -> None:
        self.index.save_index(path)

    def load(self, path: str) -> None:
        self.index.load_index(path)


class Faiss:
    """HNSWFlat: float32, inner product of normalised vectors."""

    def __init__(self, dimension: int) -> None:
        import faiss

        self.faiss, self.dimension = faiss, dimension

    def build(self, vectors: np.ndarray, room: int, m: int, ef_construction: int, threads: int) -> None:
        del room  # it grows by itself
        self.index = self.faiss.IndexHNSWFlat(self.dimension, m, self.faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = ef_construction
        self.faiss.omp_set_num_threads(threads)
        self.index.add(vectors)
        self.faiss.omp_set_num_threads(1)

    def insert(self, vector: np.ndarray, number: int) -> None:
        del number  # it counts by itself
        self.index.add(vector)

    def search(self, queries: np.ndarray, ef: int) -> np.ndarray:
        self.index.hnsw.efSearch = ef
        return self.index.search(queries, K)[1]

    def save(self, path: str) -> None:
        self.faiss.write_index(self.index, path)

    def load(self, path: str) -> None:
        self.index = self.faiss.read_index(path)


class Usearch:
    """Inner product (faster here than its cosine) of normalised vectors kept in fewer bits."""

    def __init__(self, dimension: int, dtype: str) -> None:
        self.dimension, self.dtype = dimension, dtype

    def make(self, **options: int):
        from usearch.index import Index

        return Index(ndim=self.dimension, metric="ip", dtype=self.dtype, **options)

    def build(self, vectors: np.ndarray, room: int, m: int, ef_construction: int, threads: int) -> None:
        del room  # it grows by itself
        self.index = self.make(connectivity=m, expansion_add=ef_construction)
        self.index.add(np.arange(len(vectors)), vectors, threads=threads)

    def insert(self, vector: np.ndarray, number: int) -> None:
        self.index.add(number, vector[0], threads=1)

    def search(self, queries: np.ndarray, ef: int) -> np.ndarray:
        self.index.expansion_search = ef
        return self.index.search(queries, K, threads=1).keys.reshape(len(queries), -1)

    def save(self, path: str) -> None:
        self.index.save(path)

    def load(self, path: str) -> None:
        self.index = self.make()
        self.index.load(path)


PEERS = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "usearch f16": lambda dimension: Usearch(dimension, "f16"),
    "usearch bf16": lambda dimension: Usearch(dimension, "bf16"),
    "usearch i8": lambda dimension: Usearch(dimension, "i8"),
}


class State:
    peer = None
    database = queries = np.empty((0, 0), dtype=np.float32)
    one_by_one = False


def build(
    subject: str, folder: str, rows: int, m: int, ef_construction: int, threads: int, room: int = 0, path: str = ""
) -> dict:
    """Builds a peer's index over the first `rows` vectors of a data set; saves it where there is a path."""
    State.peer = None
    State.database, State.queries = dataset.read(folder, rows)
    peer = PEERS[subject](State.database.shape[1])
    float(State.database[:, 0].sum())  # every page of the mapped file is in memory before the clock starts
    start = time.perf_counter()
    peer.build(State.database, room, m, ef_construction, threads)
    answer = {"build_s": time.perf_counter() - start}
    if path:
        start = time.perf_counter()
        peer.save(path)
        answer |= {"save_s": time.perf_counter() - start, "stored_bytes": Path(path).stat().st_size}
    State.peer = peer
    calls = {one: per_query(one) for one in (False, True)}
    State.one_by_one = calls[True] < calls[False]
    batched, one_by_one = (round(1e6 * calls[one], 1) for one in (False, True))
    print(f"{subject}: {batched} us a query all at once, {one_by_one} one by one", file=sys.stderr, flush=True)
    return answer


def per_query(one_by_one: bool) -> float:
    """Seconds for a query, of the better of three passes; the first of them warms up."""
    State.one_by_one = one_by_one
    return min(search({"width": 100}, 0.0)["query_s"] for _ in range(3))


def search(effort: dict, min_s: float, answers: bool = False) -> dict:
    """Searches with every query, again and again until `min_s` have passed; says what was found if asked to."""
    width = effort["width"]
    if State.one_by_one:
        ones = [State.queries[i : i + 1] for i in range(len(State.queries))]

        def once() -> np.ndarray:
            return np.concatenate([State.peer.search(query, width) for query in ones])
    else:

        def once() -> np.ndarray:
            return State.peer.search(State.queries, width)

    done, start = 0, time.perf_counter()
    while True:
        found = once()
        done += len(State.queries)
        seconds = time.perf_counter() - start
        if seconds >= min_s:
            break
    answer = {"query_s": seconds / done}
    return answer | ({"answers": found.astype(np.int64).tolist()} if answers else {})


def insert(folder: str, count: int) -> dict:
    """Inserts the vectors after those that the index was built of, one by one."""
    rows = len(State.database)
    following = np.array(dataset.read(folder, rows + count)[0][rows:])
    seconds = []
    for offset in range(count):
        start = time.perf_counter()
        State.peer.insert(following[offset : offset + 1], rows + offset)
        seconds.append(time.perf_counter() - start)
    return {"median_s": statistics.median(seconds), "mean_s": statistics.fmean(seconds)}


def resident(subject: str, folder: str, path: str, width: int) -> dict:
    """By how much this process, which should be fresh, grows when it loads an index and answers every query."""
    _, queries = dataset.read(folder, K)
    source = np.random.default_rng(0).standard_normal((200, queries.shape[1]), dtype=np.float32)
    warm = PEERS[subject](queries.shape[1])
    warm.build(source, 0, 16, 200, 1)  # so that the library's code is there before the count
    warm.search(source, width)
    del warm
    before = resident_bytes()
    peer = PEERS[subject](queries.shape[1])
    peer.load(path)
    peer.search(queries, width)
    after = resident_bytes()
    return {"bytes": after - before}


def resident_bytes() -> int:
    """Anonymous memory and pages of files that this process holds, after what is free was given back."""
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))


if __name__ == "__main__":
    serve(build, search, insert, resident, truth)
