"""Static stand-ins for NVIDIA's libraries (libcuda.a, libcublas.a, ...), for x86-64 and ELF.

    python3 shims.py SYMBOLS OUT

SYMBOLS has a function's name a line. A program linked with them starts without the libraries: the first call of a
function opens its library and jumps there; where there is none it returns the library's code for "not available".
"""

import pathlib
import re
import subprocess
import sys

# Link name: names of its functions, files to open, what a function returns without them. In the
# order in which a name goes to the first that takes it.
LIBRARIES = {
    "cublasLt": (r"cublasLt", ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"], 1),
    "cublas": (r"cublas", ["libcublas.so.13", "libcublas.so.12", "libcublas.so"], 1),
    "curand": (r"curand", ["libcurand.so.10", "libcurand.so"], 203),
    "nvrtc": (r"nvrtc", ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"], 7),
    "cuda": (r"cu[A-Z]", ["libcuda.so.1", "libcuda.so"], 100),
}
# A function jumps through its slot, which at first leads to the code behind that jump: it names
# the function by number and goes on to `enter`. endbr64 and the jump take 10 bytes.
FUNCTION = """.globl {name}
.type {name},@function
{name}:
  endbr64
  jmp *{prefix}_slot+{offset}(%rip)
  pushq ${number}
  jmp {prefix}_enter
.size {name},.-{name}
"""
WHOLE = ["rax", "rdi", "rsi", "rdx", "rcx", "r8", "r9"]
FLOATS = [f"movups %xmm{i},{16 * i}(%rsp)" for i in range(8)]
BACK = [f"movups {16 * i}(%rsp),%xmm{i}" for i in range(8)]
# Keeps the arguments, asks `resolve` for the address, and returns into it.
ENTER = "\n  ".join(
    ["{prefix}_enter:", *(f"pushq %{r}" for r in WHOLE), "subq $136,%rsp", *FLOATS, "movq 192(%rsp),%rdi",
     "call {prefix}_resolve", "movq %rax,192(%rsp)", *BACK, "addq $136,%rsp",
     *(f"popq %{r}" for r in reversed(WHOLE)), "ret"])
SLOTS = """
.data
.balign 8
.globl {prefix}_slot
.hidden {prefix}_slot
{prefix}_slot:
"""
RESOLVE = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
static const char *names[] = {{{names}}};
static const char *files[] = {{{files}, NULL}};
extern _Atomic(void *) {prefix}_slot[] __attribute__((visibility("hidden")));
static int absent(void) {{ return {code}; }}
static _Atomic(void *) handle;
static _Atomic int tried;
__attribute__((visibility("hidden"))) void *{prefix}_resolve(size_t i) {{
  void *library = atomic_load(&handle);
  if (!library && !atomic_load(&tried)) {{
    for (int k = 0; files[k] && !library; k++) library = dlopen(files[k], RTLD_NOW | RTLD_GLOBAL);
    if (library) atomic_store(&handle, library); else atomic_store(&tried, 1);
  }}
  void *function = library ? dlsym(library, names[i]) : NULL;
  if (!function) function = (void *)absent;
  atomic_store(&{prefix}_slot[i], function);
  return function;
}}
"""


def library(out, link, names, files, code):
    prefix = f"__lazy_{link}"
    functions = [FUNCTION.format(name=name, prefix=prefix, number=i, offset=8 * i) for i, name in enumerate(names)]
    assembly = [".text\n", *functions, ENTER.format(prefix=prefix), SLOTS.format(prefix=prefix)]
    assembly += [f"  .quad {name}+10\n" for name in names]
    assembly.append('.section .note.GNU-stack,"",@progbits\n')
    (out / f"{link}.S").write_text("".join(assembly))
    quoted = lambda texts: ", ".join(f'"{text}"' for text in texts)
    (out / f"{link}.c").write_text(RESOLVE.format(prefix=prefix, names=quoted(names), files=quoted(files), code=code))
    for source, made in ((f"{link}.S", f"{link}_s.o"), (f"{link}.c", f"{link}_c.o")):
        subprocess.check_call(["gcc", "-O2", "-fPIC", "-c", out / source, "-o", out / made])
    archive = out / f"lib{link}.a"
    archive.unlink(missing_ok=True)
    subprocess.check_call(["ar", "crs", archive, out / f"{link}_s.o", out / f"{link}_c.o"])


def main():
    symbols, out = pathlib.Path(sys.argv[1]).read_text().split(), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    taken = set()
    for link, (start, files, code) in LIBRARIES.items():
        names = [name for name in symbols if re.match(start, name) and name not in taken]
        taken |= set(names)
        library(out, link, names, files, code)
        print(f"{link}: {len(names)} functions", file=sys.stderr)


main()
