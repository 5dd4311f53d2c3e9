"""Writes the seeds of the fuzz targets to fixtures/fuzz/TARGET/, small ones of every kind.

Needs pydicom, pynetdicom, numpy, imagecodecs, torch, safetensors and gguf, and DCMTK's programs.
Names that begin with `crash-` are inputs that once were fatal; they stay.
"""

import io
import pathlib
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import gguf
import imagecodecs
import numpy
import safetensors.numpy
import torch
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
# The order of src/vocabulary/transfer_syntax.rs, by the last parts of their UIDs.
SYNTAXES = ["1", "", "1.99", "2", "4.70", "4.57", "4.80", "4.90", "4.201", "4.202", "5", "4.81", "4.91", "4.203", "4.50", "4.51"]
SYNTAXES = ["1.2.840.10008.1.2" + ("." + tail if tail else "") for tail in SYNTAXES]
CODECS = [uid for uid in SYNTAXES if ".1.2.4." in uid or uid.endswith(".1.2.5") or uid.endswith(".1.2.1")]
CODECS = [uid for uid in SYNTAXES if uid in CODECS]
FILE = 255


def keep(target, name, content):
    folder = FIXTURES / "fuzz" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def explicit(dataset):
    """Bytes of a whole file, and of its data set alone."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    whole = buffer.getvalue()
    (group_length,) = (int.from_bytes(whole[140:144], "little"),)
    return whole, whole[144 + group_length:]


def data_sets():
    """The fixtures' headers in the syntaxes that they came in, with no pixels or a few."""
    names = "cr-ap-implicit dx-pa-explicit dx-pa-big-endian dx-pa-deflated cr-ap-modality-lut dx-ap-voi-lut cr-pa-japanese-name dx-ap-undefined-length-un cr-ap-rle cr-ap-signed-16 two-views-lateral sc-modality-cr cr-hand"
    for name in names.split():
        dataset = dcmread(FIXTURES / "dicom" / f"{name}.dcm")
        uid = dataset.file_meta.TransferSyntaxUID
        native = uid in SYNTAXES[:4]
        if native:
            dataset.Rows = dataset.Columns = 2
            size = 4 * dataset.BitsAllocated // 8
            dataset.PixelData = bytes(range(size))
            dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
        else:
            del dataset.PixelData
        for sequence in ("ModalityLUTSequence", "VOILUTSequence"):
            if sequence in dataset:
                item = dataset[sequence].value[0]
                depth = item.LUTDescriptor[2]
                item.LUTDescriptor = [4, item.LUTDescriptor[1], depth]
                item.LUTData = [0, 1, 2, 3] if isinstance(item.LUTData, (list, tuple)) or hasattr(item.LUTData, "__iter__") and not isinstance(item.LUTData, bytes) else bytes(8)
        whole, data_set = explicit(dataset)
        keep("data_sets", name, bytes([SYNTAXES.index(uid)]) + data_set)
        if name in ("dx-pa-explicit", "dx-pa-deflated"):
            keep("data_sets", f"{name}-file", bytes([FILE]) + whole)


def pixels():
    """A small image in every codec, in 8 and in 16 bits, and in colour where a codec has it."""
    rng = numpy.random.default_rng(1)
    ramp = numpy.add.outer(numpy.arange(16), numpy.arange(12)) * 8 + rng.integers(0, 4, (16, 12))
    deep = (ramp * 16).astype(numpy.uint16)
    shallow = ramp.astype(numpy.uint8)
    colour = numpy.stack([shallow] * 3, axis=-1)

    def add(name, tail, flags, stream):
        index = CODECS.index("1.2.840.10008.1.2." + tail)
        keep("pixels", name, bytes([index, flags, 12, 16]) + bytes(stream))

    add("native-8", "1", 0, shallow.tobytes())
    add("native-16-signed", "1", 2 | 8 | 32 | 64, deep.tobytes())
    add("native-colour-planar", "1", 1 | 16, numpy.moveaxis(colour, -1, 0).tobytes())
    add("baseline", "4.50", 0, imagecodecs.jpeg8_encode(shallow, level=90))
    add("baseline-colour", "4.50", 1, imagecodecs.jpeg8_encode(colour, level=90))
    add("progressive", "4.51", 0, imagecodecs.jpeg8_encode(shallow, level=90))
    add("lossless", "4.70", 2 | 8, imagecodecs.ljpeg_encode(deep, bitspersample=12))
    add("lossless-any", "4.57", 0, imagecodecs.ljpeg_encode(shallow, bitspersample=8))
    add("jpeg-ls", "4.80", 2 | 8, imagecodecs.jpegls_encode(deep))
    add("jpeg-ls-near", "4.81", 0, imagecodecs.jpegls_encode(shallow, level=2))
    add("jpeg-2000", "4.90", 2 | 8, imagecodecs.jpeg2k_encode(deep, codecformat="j2k", reversible=True, bitspersample=12))
    add("jpeg-2000-lossy", "4.91", 0, imagecodecs.jpeg2k_encode(shallow, level=40, codecformat="j2k", reversible=False))
    add("jpeg-2000-colour", "4.90", 1, imagecodecs.jpeg2k_encode(colour, codecformat="j2k", reversible=True))
    add("htj2k", "4.201", 2, imagecodecs.htj2k_encode(deep, reversible=True))
    add("htj2k-rpcl", "4.202", 0, imagecodecs.htj2k_encode(shallow, reversible=True, tlm=True, tilepart=1))
    add("htj2k-lossy", "4.203", 0, imagecodecs.htj2k_encode(shallow, level=0.006, reversible=False))
    for name, tail, flags, image in (("rle-8", "5", 0, shallow), ("rle-16", "5", 2, deep)):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
        dataset = Dataset()
        dataset.file_meta = meta
        dataset.Rows, dataset.Columns = image.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = image.itemsize * 8
        dataset.HighBit, dataset.PixelRepresentation = image.itemsize * 8 - 1, 0
        dataset.compress(UID("1.2.840.10008.1.2.5"), image)
        # The first fragment after the offset table.
        stream = dataset.PixelData[8 + int.from_bytes(dataset.PixelData[4:8], "little"):]
        add(name, tail, flags, stream[8:8 + int.from_bytes(stream[4:8], "little")])


class Recorder:
    """Stands between two programs, and keeps what each says."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.behind = port
        self.said = [b"", b""]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        front, _ = self.listener.accept()
        back = socket.create_connection(("127.0.0.1", self.behind))

        def copy(side, source, target):
            while data := source.recv(1 << 16):
                self.said[side] += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

        reverse = threading.Thread(target=copy, args=(1, back, front))
        reverse.start()
        copy(0, front, back)
        reverse.join()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def associations(folder):
    """What real peers say to each other, and the command sets in it."""
    whole = dcmread(FIXTURES / "dicom/dx-pa-explicit.dcm")
    whole.Rows = whole.Columns = 2
    whole.PixelData = bytes(4 * whole.BitsAllocated // 8)
    image = folder / "image.dcm"
    dcmwrite(image, whole)
    port = free_port()
    server = subprocess.Popen(["storescp", "-aet", "THORASCRIBE", "-od", folder, str(port)], stderr=subprocess.DEVNULL)
    time.sleep(1)

    def recorded(name, act):
        recorder = Recorder(port)
        act(recorder.port)
        recorder.thread.join()
        keep("associations", f"{name}-asks", b"\0" + recorder.said[0])
        keep("associations", f"{name}-answers", b"\1" + recorder.said[1])
        for side, said in enumerate(recorder.said):
            commands(f"{name}-{side}", said)

    run = lambda *command: lambda port: subprocess.run([*command[:2], *command[2:3], "127.0.0.1", str(port), *command[3:]], check=False, stderr=subprocess.DEVNULL)
    recorded("echoscu", run("echoscu", "-aec", "THORASCRIBE"))
    recorded("storescu", run("storescu", "-aec", "THORASCRIBE", str(image)))
    keep("associations", "rejected-answers", bytes([1, 3, 0, 0, 0, 0, 4, 0, 1, 1, 7]))

    def reports(port):
        ae = AE("THORASCRIBE")
        for uid in ("1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.11"):
            ae.add_requested_context(uid, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
        association = ae.associate("127.0.0.1", port, ae_title="THORASCRIBE")
        report = Dataset()
        report.file_meta = FileMetaDataset()
        report.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
        report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.3"
        association.send_c_store(report)
        association.release()

    recorded("reports", reports)
    server.kill()
    server.wait()


def commands(name, said):
    """Every command set among the PDUs."""
    at = number = 0
    while at + 6 <= len(said):
        kind, length = said[at], int.from_bytes(said[at + 2:at + 6], "big")
        body, at = said[at + 6:at + 6 + length], at + 6 + length
        while kind == 4 and len(body) >= 6:
            size = int.from_bytes(body[:4], "big")
            if body[5] & 1:
                keep("commands", f"{name}-{number}", body[6:4 + size])
                number += 1
            body = body[4 + size:]


def pickles():
    weights = {"w": torch.arange(12, dtype=torch.float32).reshape(3, 4), "half": torch.ones(4, dtype=torch.bfloat16)}
    saved = {
        "plain": weights,
        "nested": {"model": {"a.weight": torch.zeros(2, 2, dtype=torch.float16).t()}, "epoch": 3, "config": {"lr": 1e-4, "names": ["a", None, True]}},
        "parameter": {"state_dict": {"p": torch.nn.Parameter(torch.zeros(3))}},
    }
    for name, value in saved.items():
        buffer = io.BytesIO()
        torch.save(value, buffer)
        keep("pickles", f"{name}-file", b"\0" + buffer.getvalue())
        archive = zipfile.ZipFile(buffer)
        inner = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        keep("pickles", name, b"\1" + archive.read(inner))
    for protocol in (0, 2, 4):
        keep("pickles", f"protocol-{protocol}", b"\1" + pickle.dumps({"a": [1, 2.5, None, (True, "text", b"bytes")], "big": 1 << 70, 5: {1, 2}}, protocol))


def safetensors_():
    plain = {"a": numpy.arange(6, dtype=numpy.float32).reshape(2, 3), "b": numpy.zeros(4, numpy.float16), "ids": numpy.arange(3)}
    keep("safetensors", "plain", safetensors.numpy.save(plain, {"format": "pt"}))
    packed = {"q_proj.weight.q8_0": numpy.zeros((2, 34), numpy.uint8), "k.weight.q4_k": numpy.zeros((1, 144), numpy.uint8), "n": numpy.ones((), numpy.float32)}
    keep("safetensors", "packed", safetensors.numpy.save(packed))
    keep("safetensors", "empty", safetensors.numpy.save({}))


def gguf_(folder):
    types = gguf.GGMLQuantizationType
    for name, kind, width, size in (("f32", types.F32, 8, None), ("q8-0", types.Q8_0, 32, 34), ("q4-k", types.Q4_K, 256, 144), ("q6-k", types.Q6_K, 256, 210)):
        path = folder / f"{name}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_context_length(16)
        writer.add_embedding_length(width)
        writer.add_block_count(1)
        writer.add_feed_forward_length(width)
        writer.add_head_count(2)
        writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_token_list([b"<unk>", b"<s>", b"</s>"])
        writer.add_token_scores([0.0, 0.0, 0.0])
        writer.add_bool("llama.flag", True)
        rows = 2
        for tensor in ("token_embd", "blk.0.attn_q", "blk.0.attn_v", "blk.0.ffn_down"):
            if size is None:
                writer.add_tensor(f"{tensor}.weight", numpy.ones((rows * 2, width), numpy.float32))
            else:
                blocks = numpy.zeros((rows * 2, size), numpy.uint8)
                writer.add_tensor(f"{tensor}.weight", blocks, raw_dtype=kind)
        writer.add_tensor("output_norm.weight", numpy.ones(width, numpy.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        keep("gguf", name, path.read_bytes())


def settings():
    keep("settings", "every-key", (ROOT / "conf/thorascribe.toml").read_bytes())
    uncommented = "\n".join(line[2:] if line.startswith("# ") and ("=" in line or line.startswith("# [")) else line for line in (ROOT / "conf/thorascribe.toml").read_text().splitlines())
    keep("settings", "every-key-uncommented", uncommented.encode())
    keep("settings", "manifest", (ROOT / "src/model/embedded/manifest.toml").read_bytes())
    keep("settings", "rules", b"""
[node]
ae_title = "NODE"
bind = "127.0.0.1:0"
[study]
quiet = "300 ms"
[[destination]]
name = "pacs"
ae_title = "PACS"
host = "pacs.example"
port = 104
receives = ["report", "images"]
[[peer]]
ae_title = "CR1"
address = "10.0.0.0/8"
[[rule]]
name = "urgent"
when = "pneumothorax.score > 0.5 && study.patient_age >= 18.0"
priority = "stat"
[[route]]
name = "all"
when = "priority != 'routine' || sender.ae_title.matches('^CR')"
to = ["pacs"]
send = ["images", "report"]
""")
    keep("settings", "wrong", b"[node]\nae_titel = 'x'\nbind = 5\n[[peer]]\n[receive]\nmax_object = \"9999999999 TiB\"\ntimeout = \"1 fortnight\"\n\xc3\xa9 = 1\n")


def pages():
    form = lambda path, body, *headers: f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n{''.join(h + chr(13) + chr(10) for h in headers)}\r\n{body}".encode()
    ask = lambda path, *headers: f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n{''.join(h + chr(13) + chr(10) for h in headers)}\r\n".encode()
    token = "0123456789abcdef0123456789abcdef"
    seeds = {
        "list": b"\0" + ask("/?q=smith&state=drafted&priority=stat&from=2026-01-01&page=2"),
        "rows": b"\0" + ask("/rows?after=1.2.3", "X-Thorascribe-Poll: 1"),
        "study": b"\0" + ask("/studies/1.2.3?center=40&width=400"),
        "image": b"\0" + ask("/studies/1.2.3/image.png?center=40.5&width=1e3"),
        "api": b"\0" + ask("/api/studies?limit=10&state=failed"),
        "metrics": b"\0" + ask("/metrics"),
        "sign": b"\0" + form("/studies/1.2.3/sign", "csrf=&version=1&text=No+pneumothorax.%0D%0AImpression%3A+normal%21", "Sec-Fetch-Site: same-origin"),
        "retry": b"\0" + form("/studies/1.2.3/retry", "csrf="),
        "drop": b"\0" + form("/studies/1.2.3/drop", "csrf=%00%ff"),
        "forged": b"\0" + form("/studies/1.2.3/drop", "csrf=", "Sec-Fetch-Site: cross-site"),
        "sign-in": b"\1" + form("/sign-in", f"form={token}&name=u&password=p&next=%2Fstudies%2F1.2", f"Cookie: form={token}"),
        "sign-in-page": b"\1" + ask("/sign-in?next=/studies/1.2.3"),
        "sign-out": b"\1" + form("/sign-out", "csrf=x", f"Cookie: session={token}; a=b"),
        "proxy": b"\1" + ask("/", "X-Forwarded-For: 10.0.0.1, 192.0.2.7", "X-Forwarded-Proto: https"),
        "chunked": b"\0POST /sign-out HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n6\r\ncsrf=a\r\n0\r\n\r\n",
    }
    for name, request in seeds.items():
        keep("pages", name, request)


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        data_sets()
        pixels()
        associations(folder)
        pickles()
        safetensors_()
        gguf_(folder)
        settings()
        pages()
    total = sum(f.stat().st_size for f in (FIXTURES / "fuzz").rglob("*") if f.is_file())
    print(f"{total} bytes in fixtures/fuzz", file=sys.stderr)


if __name__ == "__main__":
    main()
