"""The node, its destinations, and the objects and modalities that feed it."""

import hashlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request

from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

ROOT = pathlib.Path(__file__).resolve().parents[2]
NODE = "THORASCRIBE"
SYNTAXES = [f"1.2.840.10008.1.2{tail}" for tail in ("", ".1", ".1.99", ".2", ".5", *(f".4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)))]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def dcmtk(name):
    """DCMTK's own program: pynetdicom brings others of the same names."""
    return next(f"{folder}/{name}" for folder in ("/usr/bin", "/usr/local/bin") if pathlib.Path(folder, name).exists())


class Program:
    """A program that can be killed and started again on the same state."""

    process = None

    def start(self):
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=os.environ | self.environment())

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()

    def environment(self):
        return {}

    def wait_for_port(self):
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.command()[0]} does not listen: see {self.folder / 'log'}")


class Node(Program):
    """Thorascribe, with two destinations."""

    def __init__(self, folder, program, destinations):
        self.folder, self.program = folder, program
        self.port, self.http = free_port(), free_port()
        tables = "".join(
            f'[[destination]]\nname = "{name}"\nae_title = "{name.upper()}"\nhost = "127.0.0.1"\nport = {port}\nreceives = {json.dumps(receives)}\n'
            for name, port, receives in destinations
        )
        (folder / "thorascribe.toml").write_text(f"""
[node]
bind = "127.0.0.1:{self.port}"
[http]
bind = "127.0.0.1:{self.http}"
[spool]
path = "{folder / 'spool'}"
min_free = "1 GiB"
[study]
quiet = "1s"
deadline = "20s"
[receive]
timeout = "10s"
[deliver]
max_attempts = 1000
[retention]
after_delivery = "2m"
[log]
level = "info"
{tables}""")

    def command(self):
        return [self.program, "--config", self.folder / "thorascribe.toml", "serve"]

    def resident(self):
        """MiB in memory."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024

    def call(self, *arguments):
        command = [self.program, "--config", self.folder / "thorascribe.toml", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)


class Orthanc(Program):
    """An archive that keeps reports."""

    def __init__(self, folder):
        self.folder, self.port, self.http = folder, free_port(), free_port()
        settings = {"StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"), "DicomAet": "ORTHANC", "DicomPort": self.port, "HttpPort": self.http, "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False}
        (folder / "orthanc.json").write_text(json.dumps(settings))

    def command(self):
        return ["Orthanc", self.folder / "orthanc.json"]

    def held(self):
        """SOP instance UIDs."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/instances?expand") as answer:
            return [one["MainDicomTags"]["SOPInstanceUID"] for one in json.load(answer)]


class Sink:
    """An archive of pynetdicom: what it answered Success for, by instance, with each content."""

    def __init__(self, seed):
        self.port, self.random, self.lock = free_port(), random.Random(seed), threading.Lock()
        self.contents, self.stores, self.refused, self.server = {}, 0, 0, None

    def start(self):
        ae = AE("SINK")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, SYNTAXES)
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)])

    def stop(self):
        self.server.shutdown()

    def store(self, event):
        # Out of resources, now and then: to be tried again.
        if self.random.random() < 0.02:
            self.refused += 1
            return 0xA700
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        with self.lock:
            self.stores += 1
            self.contents.setdefault(event.request.AffectedSOPInstanceUID, set()).add(digest)
        return 0x0000


class Objects:
    """Copies of the fixtures under UIDs of their own."""

    def __init__(self, folder, seed):
        self.folder, self.random, self.number = folder, random.Random(seed), 0
        folder.mkdir()
        index = json.loads((ROOT / "fixtures/dicom/index.json").read_text())
        # A deflated data set hides its UIDs.
        self.fixtures = [one for one in index if one["transfer_syntax"] != "1.2.840.10008.1.2.1.99"]
        self.lock = threading.Lock()

    def copy(self):
        """One more file, and its instance UID."""
        with self.lock:
            self.number += 1
            salt, fixture = self.number, self.random.choice(self.fixtures)
        content = (ROOT / "fixtures/dicom" / fixture["file"]).read_bytes()
        for kind in ("study", "series", "instance"):
            old = fixture[kind]
            digits = str(int(hashlib.sha256(f"{old}/{salt}".encode()).hexdigest(), 16)).strip("0")
            content = content.replace(old.encode(), f"2.25.{digits}"[: len(old)].encode())
            if kind == "instance":
                instance = f"2.25.{digits}"[: len(old)]
        file = self.folder / f"{salt:06}.dcm"
        file.write_bytes(content)
        return file, instance


def by_dcmsend(port, files):
    """Instances that dcmsend was told Success for."""
    report = files[0].with_suffix(".report")
    report.unlink(missing_ok=True)
    command = [dcmtk("dcmsend"), "-aec", NODE, "-to", "20", "-ta", "20", "-td", "60", "+crf", report, "127.0.0.1", str(port), *files]
    subprocess.run(command, capture_output=True, check=False)
    text = report.read_text() if report.exists() else ""
    report.unlink(missing_ok=True)
    return set(re.findall(r"SOP Instance +: (\S+)(?:(?!Number).)*?DIMSE Status +: 0x0000", text, re.DOTALL))


def by_pynetdicom(port, files):
    """The same of one association of pynetdicom, in the syntaxes that the files lie in."""
    ae = AE("PYNETDICOM")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    heads = [dcmread(file, stop_before_pixels=True) for file in files]
    for pair in sorted({(head.SOPClassUID, head.file_meta.TransferSyntaxUID) for head in heads}):
        ae.add_requested_context(*pair)
    acknowledged = set()
    association = ae.associate("127.0.0.1", port, ae_title=NODE)
    for file, head in zip(files, heads):
        if not association.is_established:
            break
        try:
            if association.send_c_store(file).get("Status") == 0:
                acknowledged.add(str(head.SOPInstanceUID))
        except (RuntimeError, ValueError):
            break
    if association.is_established:
        association.release()
    return acknowledged
