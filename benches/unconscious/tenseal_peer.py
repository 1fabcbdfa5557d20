"""TenSEAL's side of `cargo xtask bench unconscious`: CKKS with the parameters of the original, on one thread.

Times are taken here, around TenSEAL's own calls only, and are of one memory each. It measures and reports; it judges nothing.
Needs this folder's parent in PYTHONPATH.
"""

import time
from collections.abc import Callable

import numpy as np
import tenseal as ts
from index import dataset
from jsonlines import serve

DEGREE = 8_192
MODULUS_BITS = [60, 40, 40, 60]
SCALE = 2.0**40


class State:
    context = None
    memories: list = []
    queries: list = []
    encrypted: list = []
    scores = np.empty((0, 0))


def timed(calls: list[Callable]) -> tuple[float, list]:
    """Seconds that a call takes on average, and what the calls return."""
    start = time.perf_counter()
    results = [call() for call in calls]
    return (time.perf_counter() - start) / len(calls), results


def prepare(folder: str, memories: int, path: str = "") -> dict:
    """Makes keys, and encrypts the first `memories` signatures of a data set; keeps nothing on disk."""
    del path
    database, queries = dataset.read(folder, memories)
    State.memories, State.queries = database.tolist(), queries.tolist()
    State.context = ts.context(
        ts.SCHEME_TYPE.CKKS, poly_modulus_degree=DEGREE, coeff_mod_bit_sizes=MODULUS_BITS, n_threads=1
    )
    State.context.global_scale = SCALE
    State.context.generate_galois_keys()
    encrypt()
    return {"stored_bytes": sum(len(memory.serialize()) for memory in State.encrypted) / memories}


def encrypt() -> dict:
    """Encrypts every signature, in place of what there was."""
    calls = [lambda memory=memory: ts.ckks_vector(State.context, memory) for memory in State.memories]
    seconds, State.encrypted = timed(calls)
    return {"memory_s": seconds}


def open() -> dict:  # noqa: A001  (the name of the command)
    """Reads every encrypted signature from bytes."""
    stored = [memory.serialize() for memory in State.encrypted]
    seconds, State.encrypted = timed([lambda one=one: ts.ckks_vector_from(State.context, one) for one in stored])
    return {"memory_s": seconds}


def influence(queries: int) -> dict:
    """The dot product of every memory with each of the first `queries`, and its decryption."""
    asked = [(memory, query) for query in State.queries[:queries] for memory in State.encrypted]
    dot, encrypted = timed([lambda memory=memory, query=query: memory.dot(query) for memory, query in asked])
    decrypt, scores = timed([score.decrypt for score in encrypted])
    State.scores = np.array(scores).reshape(queries, len(State.encrypted))
    return {"memory_s": dot + decrypt, "dot_s": dot, "decrypt_s": decrypt}


def accuracy(queries: int) -> dict:
    """The most that a score is off from the true dot product, which numpy finds in float64."""
    influence(queries)
    true = np.array(State.queries[:queries]) @ np.array(State.memories).T
    return {"largest_error": float(np.abs(State.scores - true).max())}


def total(memories: int) -> dict:
    """The total influence of the first `memories`, as the sum of their dot products, decrypted."""
    query = State.queries[0]

    def once():
        score = State.encrypted[0].dot(query)
        for memory in State.encrypted[1:memories]:
            score += memory.dot(query)
        return score.decrypt()

    return {"total_s": timed([once])[0]}


def add() -> dict:
    """Adds every encrypted signature to a sum that is kept."""
    kept = State.encrypted[0].copy()
    return {"memory_s": timed([lambda memory=memory: kept.add_(memory) for memory in State.encrypted])[0]}


if __name__ == "__main__":
    serve(prepare, encrypt, open, influence, accuracy, total, add)
