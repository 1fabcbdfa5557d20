"""Compiles kernels.cu with the NVRTC of this environment: compile.py FOLDER OUT. Called by `cargo xtask kernels`."""

import ctypes
import pathlib
import sys

import nvidia.cuda_nvrtc

OPTIONS = [
    # Volta, and everything since: the driver compiles the PTX for the card that it finds.
    b"--gpu-architecture=compute_70",
    # One IEEE operation is one IEEE operation, as on the processor.
    b"-fmad=false",
    b"--prec-div=true",
    b"--prec-sqrt=true",
    b"--ftz=false",
    b"--std=c++14",
]


def compile_kernels(folder: pathlib.Path) -> bytes:
    nvrtc = ctypes.CDLL(str(next((pathlib.Path(nvidia.cuda_nvrtc.__path__[0]) / "lib").glob("libnvrtc.so.*"))))
    headers = sorted(folder.glob("*.cuh"))
    texts = (ctypes.c_char_p * len(headers))(*[header.read_bytes() for header in headers])
    names = (ctypes.c_char_p * len(headers))(*[header.name.encode() for header in headers])
    program = ctypes.c_void_p()
    source = (folder / "kernels.cu").read_bytes()
    status = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", len(headers), texts, names)
    if status != 0:
        sys.exit(f"NVRTC does not start: {status}")
    status = nvrtc.nvrtcCompileProgram(program, len(OPTIONS), (ctypes.c_char_p * len(OPTIONS))(*OPTIONS))
    log = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
    if log.strip():
        print(log.decode(errors="replace"), file=sys.stderr)
    if status != 0:
        sys.exit("the kernels do not compile")
    return text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)


def text(size_of, get, program) -> bytes:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    get(program, buffer)
    return buffer.value


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).write_bytes(compile_kernels(pathlib.Path(sys.argv[1])))
