"""A PACS that misbehaves as told.

pacs.py FOLDER CLASSES: prints its port, and then a JSON line an object. FOLDER/status holds what
it answers from now on: a DIMSE status in hexadecimal and its own words on it, or "hang". CLASSES:
the storage classes that it takes, comma-separated UIDs.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt

status = Path(sys.argv[1]) / "status"


def store(event):
    data = event.dataset
    content = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
    row = {"study": data.StudyInstanceUID, "instance": data.SOPInstanceUID, "content": content}
    print(json.dumps(row), flush=True)
    while (answer := status.read_text().strip()) == "hang":
        time.sleep(0.05)
    code, _, words = answer.partition(" ")
    response = Dataset()
    response.Status = int(code, 16)
    if words:
        response.ErrorComment = words
    return response


entity = AE("PACS")
for uid in sys.argv[2].split(","):
    entity.add_supported_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
print(server.server_address[1], flush=True)
while True:
    time.sleep(3600)
