"""Asks a node for an association with pynetdicom and prints what came of it.

associate.py PORT CALLING CALLED [USERNAME PASSCODE]

An empty passcode asks with the username alone (type 1). A positive response is always wanted.
"""

import sys

from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification


def main():
    """One association."""
    port, calling, called = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    extended = []
    if len(sys.argv) > 4:
        identity = UserIdentityNegotiation()
        identity.positive_response_requested = True
        identity.primary_field = sys.argv[4].encode()
        identity.user_identity_type = 1
        if sys.argv[5]:
            identity.user_identity_type = 2
            identity.secondary_field = sys.argv[5].encode()
        extended.append(identity)
    ae = AE(calling)
    ae.add_requested_context(Verification)
    rejections = []

    def received(event):
        # pynetdicom calls a rejection an abort when the connection ends just behind it.
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejections.append(event.pdu)

    association = ae.associate(
        "127.0.0.1",
        port,
        ae_title=called,
        ext_neg=extended,
        evt_handlers=[(evt.EVT_PDU_RECV, received)],
    )
    if association.is_established:
        answered = association.acceptor.user_identity is not None
        association.send_c_echo()
        association.release()
        print("accepted confirmed" if answered else "accepted")
    elif rejections:
        answer = rejections[0]
        print(f"rejected {answer.result}/{answer.source}/{answer.reason_diagnostic}")
    else:
        print("aborted")


if __name__ == "__main__":
    main()
