"""Starts the packaged node as its unit says, in a root of its own, and is its service manager.

start.py ROOT

Speaks NOTIFY_SOCKET, WATCHDOG_USEC and LISTEN_FDS to it: ready, an association and a page through
the sockets that were handed over, progress, reload, stop.
"""

import os
import pathlib
import pwd
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(sys.argv[1])
UNIT = (ROOT / "usr/lib/systemd/system/thorascribe.service").read_text()
PATIENCE = 60


def setting(key):
    """The last value of a key of the unit."""
    values = [line.partition("=")[2] for line in UNIT.splitlines() if line.startswith(f"{key}=")]
    return values[-1] if values else None


def listening(unit):
    """A socket as the unit of that name asks for it, on a free port; and its name."""
    text = (ROOT / "usr/lib/systemd/system" / unit).read_text()
    name = next(line.partition("=")[2] for line in text.splitlines() if line.startswith("FileDescriptorName="))
    assert "ListenStream=" in text and "Accept=yes" not in text
    return name, socket.create_server(("127.0.0.1", 0), backlog=64)


class Told:
    """What the node says."""

    def __init__(self):
        self.path = ROOT / "run/notify-test"
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.path.chmod(0o666)
        self.socket.settimeout(1)

    def wait_for(self, line):
        """The message that holds the line."""
        until = time.monotonic() + PATIENCE
        said = []
        while time.monotonic() < until:
            try:
                message = self.socket.recv(4096).decode().splitlines()
            except TimeoutError:
                continue
            if line in message:
                print("   ", "; ".join(message))
                return
            said.append(message)
        sys.exit(f"waited in vain for {line}; said were {said}")


def inside(words, environment, sockets):
    """Becomes a command of the unit: its root, its user, its descriptors."""
    for place, one in enumerate(sockets, 3):
        os.dup2(one.fileno(), place)
    os.chroot(ROOT)
    os.chdir("/")
    user = pwd.getpwnam(setting("User"))
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.umask(int(setting("UMask"), 8))
    environment = environment | {"LISTEN_PID": str(os.getpid())}
    os.execve(words[0], words, environment)


def start(words, environment, sockets=()):
    """Starts it, and gives its process."""
    # Out of the way of the places that they go to.
    high = [socket.fromfd(one.fileno(), one.family, one.type) for one in sockets]
    for number, one in enumerate(high):
        high[number] = socket.socket(fileno=os.dup2(one.fileno(), 100 + number))
    child = os.fork()
    if child == 0:
        try:
            inside(words, environment, high)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
        os._exit(127)
    return child


def code(child):
    """How it ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    """From start to stop."""
    assert setting("Type") == "notify" and setting("NotifyAccess") == "main"
    plain = {"PATH": "/usr/bin:/bin", "STATE_DIRECTORY": "/var/lib/thorascribe", "CONFIGURATION_DIRECTORY": "/etc/thorascribe"}
    assert code(start(setting("ExecStartPre").split(), plain)) == 0, "ExecStartPre failed"
    names, sockets = zip(*(listening(unit) for unit in ("thorascribe.socket", "thorascribe-http.socket")))
    told = Told()
    environment = plain | {
        "NOTIFY_SOCKET": "/run/notify-test",
        "WATCHDOG_USEC": "2000000",
        "LISTEN_FDS": str(len(names)),
        "LISTEN_FDNAMES": ":".join(names),
        "THORASCRIBE_SPOOL__MIN_FREE": "1 MiB",
    }
    child = start(setting("ExecStart").split(), environment, sockets)
    try:
        told.wait_for("READY=1")
        port = str(sockets[0].getsockname()[1])
        subprocess.run(["echoscu", "-aec", "THORASCRIBE", "127.0.0.1", port], check=True)
        page = urllib.request.urlopen(f"http://127.0.0.1:{sockets[1].getsockname()[1]}/readyz")
        assert page.status == 200
        told.wait_for("WATCHDOG=1")
        assert setting("ExecReload") == "/bin/kill -HUP $MAINPID"
        os.kill(child, signal.SIGHUP)
        told.wait_for("RELOADING=1")
        told.wait_for("READY=1")
        os.kill(child, getattr(signal, setting("KillSignal")))
        told.wait_for("STOPPING=1")
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    assert code(child) == 0, "the stop was not clean"


if __name__ == "__main__":
    main()
