"""Compiles the .cu files beside it to .ptx, with NVRTC 11.8 (nvidia-cuda-nvrtc-cu11==11.8.89) as the kernels are."""

import ctypes
import pathlib
import sysconfig

LIBRARIES = pathlib.Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cuda_nvrtc" / "lib"
OPTIONS = [b"--gpu-architecture=compute_70", b"-fmad=false", b"-default-device"]


def compile_to_ptx(nvrtc, source):
    program = ctypes.c_void_p()
    text = source.read_bytes()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, source.name.encode(), 0, None, None)
    options = (ctypes.c_char_p * len(OPTIONS))(*OPTIONS)
    failed = nvrtc.nvrtcCompileProgram(program, len(OPTIONS), options)
    size = ctypes.c_size_t()
    if failed:
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise SystemExit(f"{source.name} does not compile:\n{log.value.decode()}")
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    return ptx.value


for source in sorted(pathlib.Path(__file__).parent.glob("*.cu")):
    library = ctypes.CDLL(str(LIBRARIES / "libnvrtc.so.11.2"))
    source.with_suffix(".ptx").write_bytes(compile_to_ptx(library, source))
