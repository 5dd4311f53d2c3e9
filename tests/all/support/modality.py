"""A modality: sends files by C-STORE with pynetdicom, a JSON line an answer.

modality.py HOST PORT CALLED ASSOCIATIONS FILE...

Each association has its own share of the files; an object goes in the transfer syntax it lies in.
"""

import json
import sys
import threading

from pydicom import dcmread
from pynetdicom import AE

ONE_AT_A_TIME = threading.Lock()


def send(host, port, called, files):
    """Sends the files on one association."""
    ae = AE("PYNETDICOM")
    for syntax in sorted({(f.SOPClassUID, f.file_meta.TransferSyntaxUID) for f in map(head, files)}):
        ae.add_requested_context(syntax[0], syntax[1])
    association = ae.associate(host, port, ae_title=called)
    for file in files:
        status = None
        if association.is_established:
            try:
                status = association.send_c_store(file).get("Status")
            except (RuntimeError, ValueError) as error:
                print(f"{file}: {error}", file=sys.stderr)
        answer = json.dumps({"instance": head(file).SOPInstanceUID, "status": status})
        with ONE_AT_A_TIME:
            print(answer, flush=True)
    if association.is_established:
        association.release()


def head(file):
    """The header of a file."""
    return dcmread(file, stop_before_pixels=True)


def main():
    """Shares the files out."""
    host, port, called, associations = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    files = sys.argv[5:]
    shares = [files[start::associations] for start in range(associations)]
    threads = [threading.Thread(target=send, args=(host, port, called, share)) for share in shares if share]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
