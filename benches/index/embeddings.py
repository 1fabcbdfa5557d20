"""Real sentence embeddings: docstrings of some of the pinned packages, through all-MiniLM-L6-v2.

    embeddings.py MODEL CACHE

Answers one JSON line with the folder of the data set (see dataset.py), which is made if it is missing: 59,000 vectors and
1,000 queries that are not among them, some eight minutes on two cores. The folder's name carries a hash of this file and of
everything else that the vectors depend on.
"""

import ast
import hashlib
import json
import os
import random
import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import dataset  # noqa: E402  (the settings above must come first)
import numpy as np  # noqa: E402

DATABASE, QUERIES = 59_000, 1_000
SEED = 20_261_121
MAX_TOKENS = 64
LENGTHS = range(30, 241)
# Their versions are pinned, so the sentences are the same on every machine. (Those of the standard library would not be.)
PACKAGES = (
    "huggingface_hub",
    "networkx",
    "numpy",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "sympy",
    "torch",
    "transformers",
)
IMPORTED = [{"scikit-learn": "sklearn"}.get(package, package).replace("-", "_") for package in PACKAGES]


def sources() -> list[Path]:
    """Every Python file of the packages, in an order that is the same on every machine."""
    root = Path(sysconfig.get_paths()["purelib"])
    files = (file for package in IMPORTED for file in (root / package).rglob("*.py"))
    return sorted(files, key=lambda file: file.relative_to(root).as_posix())


def sentences() -> list[str]:
    """First sentences of the paragraphs of docstrings that read as prose, each once, in an order that a seed fixes."""
    found: dict[str, str] = {}
    for file in sources():
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                    sentence = first_sentence(" ".join(paragraph.split()))
                    if sentence:
                        # The model reads lower case only: sentences that differ in case or punctuation alone are one.
                        found.setdefault(re.sub(r"\W+", " ", sentence).strip().lower(), sentence)
    texts = [found[key] for key in sorted(found)]
    random.Random(SEED).shuffle(texts)
    if len(texts) < DATABASE + QUERIES:
        raise ValueError(f"only {len(texts)} sentences found, {DATABASE + QUERIES} wanted")
    return texts[: DATABASE + QUERIES]


def first_sentence(paragraph: str) -> str | None:
    sentence = re.split(r"(?<=[.!?])\s", paragraph, maxsplit=1)[0]
    prose = re.match(r"[A-Z]", sentence) and sentence.endswith((".", "!", "?")) and sentence.count(" ") >= 4
    return sentence if prose and len(sentence) in LENGTHS else None


def embed(model: str, texts: list[str]) -> np.ndarray:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(os.cpu_count() or 1)
    transformer = SentenceTransformer(model, device="cpu")
    transformer.max_seq_length = MAX_TOKENS
    # `encode` sorts by length itself, so that a batch is hardly padded.
    vectors = transformer.encode(texts, batch_size=128, convert_to_numpy=True).astype(np.float64)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def name(model: str) -> str:
    versions = [f"{package} {metadata.version(package)}" for package in (*PACKAGES, "tokenizers")]
    digest = hashlib.sha256("\n".join(versions).encode())
    for file in (Path(__file__), Path(model) / "model.safetensors"):
        digest.update(file.read_bytes())
    return f"embeddings-{digest.hexdigest()[:16]}"


def main() -> None:
    model, cache = sys.argv[1], Path(sys.argv[2])
    folder = cache / name(model)
    if not folder.is_dir():
        print(f"embedding {DATABASE + QUERIES} sentences (some eight minutes)", file=sys.stderr, flush=True)
        vectors = embed(model, sentences())
        dataset.write(folder, [vectors[:DATABASE]], vectors[DATABASE:])
    print(json.dumps({"folder": str(folder)}))


if __name__ == "__main__":
    main()
