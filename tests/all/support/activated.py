"""Starts a program as a service manager with sockets does: sd_listen_fds(3).

activated.py NAME=HOST[,...] PROGRAM ARGUMENT...

Binds a free port a name, hands the sockets over as descriptors from 3 on, and becomes the program.
The name `file` hands over something that is no socket.
"""

import os
import socket
import sys

names, descriptors = [], []
for one in sys.argv[1].split(","):
    name, host = one.split("=")
    if name == "file":
        descriptor = os.open("/dev/null", os.O_RDONLY)
    else:
        listener = socket.create_server((host, 0))
        descriptor = listener.detach()
    names.append(name)
    # Out of the way of the places that they go to.
    descriptors.append(os.dup2(descriptor, 100 + len(names)))
for place, descriptor in enumerate(descriptors, 3):
    os.dup2(descriptor, place)
    os.close(descriptor)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
os.execv(sys.argv[2], sys.argv[2:])
