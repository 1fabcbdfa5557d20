"""The peers' side of `cargo xtask bench compression`.

Times are taken here, around the peer's own calls only: reading files, copying inputs and checking results stay outside. It
measures and reports; it judges nothing. Needs this folder's parent in PYTHONPATH.
"""

import ast
import os
import statistics
import sys
import time
import warnings
from pathlib import Path

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "BLOSC", "RAYON"):
    os.environ.setdefault(f"{name}_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402  (the thread settings above must come first)
import safetensors.numpy  # noqa: E402
from jsonlines import serve  # noqa: E402

TENSORS: list[np.ndarray] = []


def load(path: str) -> dict:
    """Keeps the tensors of a safetensors file in memory for the commands that follow."""
    TENSORS[:] = list(safetensors.numpy.load_file(path).values())
    return {"tensors": len(TENSORS), "original_bytes": sum(t.nbytes for t in TENSORS)}


def timed(call, *args):
    start = time.perf_counter()
    result = call(*args)
    return result, time.perf_counter() - start


def exact_codec(name: str):
    """Compress and decompress functions over one tensor, on one thread, as each peer's manual recommends."""
    if name == "zstd":
        import zstandard

        compressor, decompressor = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
        return lambda t: compressor.compress(t), lambda c, t: decompressor.decompress(c)
    if name == "blosc2":
        import blosc2

        blosc2.set_nthreads(1)
        options = {"clevel": 1, "filter": blosc2.Filter.SHUFFLE, "codec": blosc2.Codec.ZSTD}
        return lambda t: blosc2.compress2(t, typesize=t.itemsize, nthreads=1, **options), (
            lambda c, t: blosc2.decompress2(c, nthreads=1)
        )
    if name == "pcodec":
        from pcodec import ChunkConfig, standalone

        config = ChunkConfig()
        return lambda t: standalone.simple_compress(t.ravel(), config), (
            lambda c, t: standalone.simple_decompress(c)
        )
    if name == "zipnn":
        import zipnn

        coders = {}

        def coder(dtype):
            if dtype not in coders:
                # zipnn has no integer mode; the model's one int64 tensor is 4 KB and goes through as float32.
                kind = dtype if dtype in ("float32", "float16") else "float32"
                coders[dtype] = zipnn.ZipNN(input_format="byte", bytearray_dtype=kind, threads=1)
            return coders[dtype]

        return lambda t: coder(str(t.dtype)).compress(zipnn_input(t)), (
            lambda c, t: coder(str(t.dtype)).decompress(c)
        )
    raise ValueError(f"no exact peer named {name}")


ZIPNN_INPUTS: dict[int, bytearray] = {}


def zipnn_input(tensor: np.ndarray) -> bytearray:
    return ZIPNN_INPUTS[id(tensor)]


def exact(peer: str) -> dict:
    """One pass of a lossless peer over every tensor, each compressed by itself."""
    if peer == "zipnn":
        # zipnn reorders its input in place, so every pass gets its own copy, made outside the clock.
        ZIPNN_INPUTS.clear()
        ZIPNN_INPUTS.update((id(t), bytearray(t.tobytes())) for t in TENSORS)
    compress, decompress = exact_codec(peer)
    stored, compress_s, decompress_s = 0, 0.0, 0.0
    for tensor in TENSORS:
        packed, seconds = timed(compress, tensor)
        compress_s += seconds
        stored += len(packed)
        unpacked, seconds = timed(decompress, packed, tensor)
        decompress_s += seconds
        if memoryview(unpacked).cast("B").tobytes() != tensor.tobytes():
            raise ValueError(f"{peer} did not return the bytes it was given")
    return {"stored_bytes": stored, "compress_s": compress_s, "decompress_s": decompress_s}


def zfp_pass(arrays: list[np.ndarray], tolerance: float) -> dict:
    import zfpy

    stored, compress_s, decompress_s, worst, error, total = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    maxima, worst_rel = [], 0.0
    for array in arrays:
        packed, seconds = timed(lambda a: zfpy.compress_numpy(a, tolerance=tolerance), array)
        compress_s += seconds
        stored += len(packed)
        unpacked, seconds = timed(zfpy.decompress_numpy, packed)
        decompress_s += seconds
        original = array.astype(np.float64)
        difference = original - unpacked
        maxima.append(float(np.max(np.abs(difference))))
        squared, norm = float(np.sum(difference**2)), float(np.sum(original**2))
        worst_rel = max(worst_rel, (squared / norm) ** 0.5 if norm else 0.0)
        error, total = error + squared, total + norm
    return {
        "stored_bytes": stored,
        "compress_s": compress_s,
        "decompress_s": decompress_s,
        "max_abs_errors": maxima,
        "max_abs_error": max(maxima),
        "rel_l2_error": (error / total) ** 0.5,
        "worst_rel_l2_error": worst_rel,
    }


def zfp(tolerance: float) -> dict:
    """One pass of zfp's accuracy mode over the matrices; the rest (0.1 % of the bytes) counts as stored raw, in no time."""
    matrices = [t for t in TENSORS if t.dtype == np.float32 and t.ndim == 2]
    result = zfp_pass(matrices, tolerance)
    result["stored_bytes"] += sum(t.nbytes for t in TENSORS) - sum(t.nbytes for t in matrices)
    result["original_bytes"] = sum(t.nbytes for t in TENSORS)
    return result


PLANES: list[np.ndarray] = []


def planes(paths: list[str], shape: list[int]) -> dict:
    """Keeps raw little-endian float32 arrays in memory for `smooth`."""
    PLANES[:] = [np.fromfile(p, dtype="<f4").reshape(shape) for p in paths]
    return {"original_bytes": sum(p.nbytes for p in PLANES)}


def smooth(tolerance: float) -> dict:
    """One pass of zfp's 3-D accuracy mode over the planes."""
    return zfp_pass(PLANES, tolerance)


def load_and_touch(path: str) -> dict:
    """What a user of safetensors does: load the file, then read every byte of it."""
    start = time.perf_counter()
    total = 0
    for tensor in safetensors.numpy.load_file(path).values():
        flat = tensor.reshape(-1).view(np.uint8)
        whole = flat.size // 8 * 8
        total += int(flat[:whole].view(np.uint64).sum()) + int(flat[whole:].sum())
    return {"seconds": time.perf_counter() - start, "sum": total % 2**64}


def sentences(count: int) -> list[str]:
    """First docstring lines of numpy, scipy and scikit-learn, in file order, evenly thinned to `count`.

    Their versions are pinned, so the list is the same on every machine.
    """
    found: dict[str, None] = {}
    for package in ("numpy", "scipy", "sklearn"):
        root = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / package
        for file in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    line = (ast.get_docstring(node) or "").split("\n")[0].strip()
                    if 25 <= len(line) <= 200 and line.endswith("."):
                        found.setdefault(line)
    lines = list(found)
    if len(lines) < count:
        raise ValueError(f"only {len(lines)} docstring sentences found, {count} wanted")
    return [lines[i * len(lines) // count] for i in range(count)]


def cosine(original: str, restored: str, count: int) -> dict:
    """Cosine between the embeddings of two models, sentence by sentence."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(os.cpu_count() or 1)
    texts = sentences(count)
    embed = [SentenceTransformer(m, device="cpu").encode(texts, batch_size=32) for m in (original, restored)]
    a, b = (e.astype(np.float64) for e in embed)
    cos = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return {
        "sentences": count,
        "mean": float(cos.mean()),
        "min": float(cos.min()),
        "median": statistics.median(cos.tolist()),
    }


if __name__ == "__main__":
    serve(load, exact, zfp, planes, smooth, load_and_touch, cosine)
