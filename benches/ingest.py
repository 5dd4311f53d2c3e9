"""Durable ingest beside DCMTK and Orthanc: images a second, the same machine, in turn, in one run.

    cargo build --release
    python3 benches/ingest.py --data DIR

500 CR images of 8 MB, in as many studies, over 8 associations of dcmsend. Thorascribe acknowledges
an image once its file, its name and its row are on the disk; storescp writes without a sync, Orthanc
as it is configured by default. Drafting is out of the way (`study.quiet` is a day), as there is none
on the other side. Needs dcmtk, orthanc and pydicom; DIR takes 4 GB of images and, for each run,
another 4 GB.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIDE = 2048
AE = "THORASCRIBE"
NEEDED = {"storescp": 0.8, "orthanc": 2.0}


def dcmtk(name):
    """DCMTK's own program: pynetdicom brings others of the same names."""
    for folder in ("/usr/bin", "/usr/local/bin"):
        if (pathlib.Path(folder) / name).exists():
            return f"{folder}/{name}"
    sys.exit(f"needs DCMTK's {name}")


def images(folder, count):
    """The images, made once: a fixture's header, and noise over a ramp that no disk can compress."""
    import pydicom
    from pydicom.uid import UID

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:04}.dcm" for number in range(count)]
    if all(file.exists() for file in files):
        return files
    image = pydicom.dcmread(ROOT / "fixtures/dicom/cr-ap-no-window.dcm")
    image.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    image.Rows = image.Columns = SIDE
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.SamplesPerPixel = 1
    for number, file in enumerate(files):
        own = f"2.25.{10**30 + number}"
        image.StudyInstanceUID, image.SeriesInstanceUID = f"{own}.1", f"{own}.2"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{own}.3"
        image.PatientID = f"INGEST{number}"
        image.PixelData = bytes(byte & 0x0F if at % 2 else byte for at, byte in enumerate(os.urandom(4096))) * (SIDE * SIDE * 2 // 4096)
        image["PixelData"].VR = "OW"
        image.save_as(file, enforce_file_format=True)
    return files


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_for_port(port):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on {port}")


class Server:
    """A receiver on a folder of its own; `kept` counts what it holds."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        log = open(folder / "log", "wb")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=os.environ | self.environment(), start_new_session=True)
        wait_for_port(self.port)

    def environment(self):
        return {}

    def stop(self):
        """Ends it; seconds of the processor that it and its children took."""
        os.killpg(self.process.pid, signal.SIGTERM)
        _, _, used = os.wait4(self.process.pid, 0)
        return used.ru_utime + used.ru_stime


class Storescp(Server):
    name = "storescp"

    def command(self):
        # A process an association, since it serves one at a time otherwise.
        return [dcmtk("storescp"), "--fork", "-aet", AE, "-od", self.folder, str(self.port)]

    def kept(self):
        return sum(1 for file in self.folder.iterdir() if file.name != "log")


class Orthanc(Server):
    name = "orthanc"

    def command(self):
        self.http = free_port()
        settings = {
            "StorageDirectory": str(self.folder / "store"),
            "IndexDirectory": str(self.folder / "store"),
            "DicomAet": AE,
            "DicomPort": self.port,
            "HttpPort": self.http,
            "DicomAlwaysAllowStore": True,
            # As many as there are associations.
            "DicomThreadsCount": 8,
        }
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        return ["Orthanc", self.folder / "orthanc.json"]

    def kept(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/statistics") as answer:
            return json.load(answer)["CountInstances"]


class Thorascribe(Server):
    name = "thorascribe"
    program = None

    def command(self):
        return [self.program, "serve"]

    def environment(self):
        self.http = free_port()
        return {
            "THORASCRIBE_NODE__BIND": f"127.0.0.1:{self.port}",
            "THORASCRIBE_HTTP__BIND": f"127.0.0.1:{self.http}",
            "THORASCRIBE_SPOOL__PATH": str(self.folder / "spool"),
            "THORASCRIBE_STUDY__QUIET": "1d",
            "THORASCRIBE_STUDY__DEADLINE": "1d",
            "THORASCRIBE_LOG__LEVEL": "warn",
        }

    def kept(self):
        return sum(len(files) for _, _, files in os.walk(self.folder / "spool/studies"))


def send(files, port, associations):
    """Seconds that dcmsend takes over all associations together."""
    shares = [files[start::associations] for start in range(associations)]
    since = time.monotonic()
    running = [subprocess.Popen([dcmtk("dcmsend"), "-q", "-aec", AE, "127.0.0.1", str(port), *map(str, share)]) for share in shares if share]
    codes = [process.wait() for process in running]
    took = time.monotonic() - since
    if any(codes):
        sys.exit(f"dcmsend ended with {codes}")
    return took


def measure(kind, files, data, associations):
    """Images a second of one run, and milliseconds of the processor for each; every image must have
    arrived."""
    os.sync()
    folder = pathlib.Path(tempfile.mkdtemp(dir=data))
    try:
        server = kind(folder)
        try:
            took = send(files, server.port, associations)
            kept = server.kept()
        finally:
            used = server.stop()
        if kept != len(files):
            sys.exit(f"{kind.name} holds {kept} of {len(files)} images:\n{(folder / 'log').read_text()[-2000:]}")
        return len(files) / took, used * 1000 / len(files)
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/thorascribe")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["thorascribe", "storescp", "orthanc"], nargs="*")
    arguments = parser.parse_args()
    Thorascribe.program = arguments.program.resolve()
    files = images(arguments.data / "ingest", arguments.images)
    for file in files:
        # Read once, so that no run finds them on the disk and the next in memory.
        file.read_bytes()
    kinds = [kind for kind in (Thorascribe, Storescp, Orthanc) if not arguments.only or kind.name in arguments.only]
    rates = {kind.name: [] for kind in kinds}
    for turn in range(arguments.rounds):
        for kind in kinds:
            rate, used = measure(kind, files, arguments.data, arguments.associations)
            rates[kind.name].append(rate)
            load = os.getloadavg()[0]
            print(f"round {turn + 1}: {kind.name} {rate:.1f} images/s, {used:.0f} ms of the processor each, load {load:.1f}", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print("| receiver | images/s | MB/s | ours is | needed |\n| --- | --- | --- | --- | --- |")
    size = files[0].stat().st_size / 1e6
    met = True
    for name, median in medians.items():
        ratio = medians.get("thorascribe", 0) / median
        needed = NEEDED.get(name)
        met &= needed is None or "thorascribe" not in medians or ratio >= needed
        print(f"| {name} | {median:.1f} | {median * size:.0f} | {'' if needed is None else f'{ratio:.2f} ×'} | {'' if needed is None else f'{needed} ×'} |")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
