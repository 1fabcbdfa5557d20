"""The signatures that `cargo xtask bench unconscious` encrypts: sentence embeddings that the tests ship.

    signatures.py NPY CACHE

Answers one JSON line with the folder of the data set (see index/dataset.py), which is made if it is missing: the first 1,000
embeddings are memories, the rest queries. The folder's name carries a hash of the file and of this one. Needs this folder's
parent in PYTHONPATH.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from index import dataset

MEMORIES = 1_000


def main() -> None:
    embeddings, cache = Path(sys.argv[1]), Path(sys.argv[2])
    digest = hashlib.sha256(Path(__file__).read_bytes() + embeddings.read_bytes())
    folder = cache / f"signatures-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        vectors = np.load(embeddings).astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        dataset.write(folder, [vectors[:MEMORIES]], vectors[MEMORIES:])
    print(json.dumps({"folder": str(folder)}))


if __name__ == "__main__":
    main()
