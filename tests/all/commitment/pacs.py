"""A PACS with storage commitment, as pynetdicom has it.

pacs.py PORT MODE FOLDER

It takes every object, and notes each in FOLDER/stored, each request for commitment in FOLDER/asked
(a JSON line: transaction, objects). MODE says what it reports:
  same    on the association of the request, that it keeps all
  loses   the first time that it has none of them, later that it keeps all; on the same association
  silent  nothing
  refuses answers the request itself with a failure
"""

import json
import pathlib
import sys
import threading

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

INSTANCE = "1.2.840.10008.1.20.1.1"


def items(references):
    """Items of a sequence: class and instance."""
    found = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.ReferencedSOPClassUID
        item.ReferencedSOPInstanceUID = reference.ReferencedSOPInstanceUID
        found.append(item)
    return found


def main():
    """Serves until it is killed."""
    port, mode, folder = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    requests = []

    def note(name, line):
        with open(folder / name, "a", encoding="ascii") as file:
            file.write(line + "\n")

    def store(event):
        note("stored", event.request.AffectedSOPInstanceUID)
        return 0x0000

    def report(event, asked):
        answer = Dataset()
        answer.TransactionUID = asked.TransactionUID
        lost = mode == "loses" and len(requests) == 1
        if lost:
            failed = items(asked.ReferencedSOPSequence)
            for item in failed:
                item.FailureReason = 0x0112
            answer.FailedSOPSequence = failed
        else:
            answer.ReferencedSOPSequence = items(asked.ReferencedSOPSequence)
        status, _ = event.assoc.send_n_event_report(
            answer, 2 if lost else 1, StorageCommitmentPushModel, INSTANCE
        )
        note("answered", str(status.get("Status")))

    def action(event):
        asked = event.action_information
        requests.append(asked)
        objects = [
            [item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID]
            for item in asked.ReferencedSOPSequence
        ]
        note("asked", json.dumps({"transaction": asked.TransactionUID, "objects": objects}))
        if mode in ("same", "loses"):
            threading.Timer(0.3, report, (event, asked)).start()
        return (0x0122 if mode == "refuses" else 0x0000), None

    ae = AE("PACS")
    ae.supported_contexts = AllStoragePresentationContexts
    if mode != "ignorant":
        ae.add_supported_context(StorageCommitmentPushModel)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, action)]
    ae.start_server(("127.0.0.1", port), evt_handlers=handlers)


if __name__ == "__main__":
    main()
