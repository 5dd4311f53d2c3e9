"""Reports on a storage commitment on an association of its own, and prints the node's answer.

report.py PORT TRANSACTION CLASS INSTANCE
"""

import sys

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel


def main():
    """One report of success."""
    port, transaction, sop_class, instance = int(sys.argv[1]), *sys.argv[2:5]
    ae = AE("PACS")
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = ae.associate("127.0.0.1", port, ae_title="THORASCRIBE", ext_neg=[role])
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = instance
    report = Dataset()
    report.TransactionUID = transaction
    report.ReferencedSOPSequence = [item]
    status, _ = association.send_n_event_report(
        report, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
    )
    print(status.get("Status"))
    association.release()


if __name__ == "__main__":
    main()
