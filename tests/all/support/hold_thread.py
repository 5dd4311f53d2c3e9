"""Stops one thread of a process, as if it hung, until stdin ends.

hold_thread.py PID NAME

Prints `held` once it stands still. (PTRACE_ATTACH stops the one thread that it is given.)
"""

import ctypes
import os
import pathlib
import sys

PTRACE_ATTACH, PTRACE_DETACH, WALL = 16, 17, 0x40000000


def main():
    """Holds the thread."""
    tasks = pathlib.Path(f"/proc/{sys.argv[1]}/task")
    thread = next(int(t.name) for t in tasks.iterdir() if (t / "comm").read_text().strip() == sys.argv[2])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(PTRACE_ATTACH, thread, None, None) != 0:
        sys.exit(f"cannot attach to the thread: {os.strerror(ctypes.get_errno())}")
    os.waitpid(thread, WALL)
    print("held", flush=True)
    sys.stdin.read()
    libc.ptrace(PTRACE_DETACH, thread, None, None)


if __name__ == "__main__":
    main()
