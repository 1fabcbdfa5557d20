"""A million synthetic vectors in clusters.

    synthetic.py CACHE

Answers one JSON line with the folder of the data set (see dataset.py), which is made if it is missing: 1,000,000 vectors of
384 dimensions (1.5 GB) and 1,000 queries of the same kind that are not among them.

How they are drawn. Direction i has the standard deviation s_i = (i + 1) ^ -0.35, i from 0, so that a few directions say
most: (sum s^2)^2 / sum s^4, the number of directions that count, is 107, and 104 in the sentence embeddings. There are
10,000 centres, drawn from N(0, s^2); cluster j is chosen with a probability in proportion to 1 / sqrt(j + 1), so that the
largest has a hundred times the members of the smallest. A vector is its centre plus N(0, (0.7 s)^2), so that among 59,000 the
nearest has a cosine of 0.70 on average; 0.74 in the sentence embeddings. All are turned by one random rotation, so that no
axis is special, and normalised. Vectors come in random order: the first N are a smaller sample of the same.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import dataset
import numpy as np

ROWS, QUERIES, DIMENSION, CENTRES = 1_000_000, 1_000, 384, 10_000
NOISE = 0.7
PART = 50_000
SEED = 20_261_121

SPREAD = (1 / np.arange(1, DIMENSION + 1) ** 0.35).astype(np.float32)


def random(part: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([SEED, part]))


def rotation() -> np.ndarray:
    """Orthogonal, and the same on every machine up to rounding: the signs of a QR decomposition are fixed."""
    q, r = np.linalg.qr(random(1).standard_normal((DIMENSION, DIMENSION)))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def vectors(part: int, count: int, centres: np.ndarray, turn: np.ndarray) -> np.ndarray:
    source = random(part)
    weights = 1 / np.sqrt(np.arange(1, CENTRES + 1))
    chosen = source.choice(CENTRES, size=count, p=weights / weights.sum())
    noise = source.standard_normal((count, DIMENSION), dtype=np.float32) * SPREAD * np.float32(NOISE)
    turned = (centres[chosen] + noise) @ turn
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)


def main() -> None:
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    folder = Path(sys.argv[1]) / f"synthetic-{digest[:16]}"
    if not folder.is_dir():
        print(f"drawing {ROWS} vectors", file=sys.stderr, flush=True)
        centres = random(0).standard_normal((CENTRES, DIMENSION), dtype=np.float32) * SPREAD
        turn = rotation()

        def parts() -> Iterator[np.ndarray]:
            for start in range(0, ROWS, PART):
                yield vectors(3 + start // PART, PART, centres, turn)

        dataset.write(folder, parts(), vectors(2, QUERIES, centres, turn))
    print(json.dumps({"folder": str(folder)}))


if __name__ == "__main__":
    main()
