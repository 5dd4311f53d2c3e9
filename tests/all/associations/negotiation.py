"""Negotiates everything that pynetdicom can ask for, and says what was agreed, a JSON line.

negotiation.py PORT
"""

import json
import sys

from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.sop_class import ComputedRadiographyImageStorage, CTImageStorage, Verification


def items(identity_type):
    """User identity with a response asked, a window, and extended negotiation of both kinds."""
    identity = UserIdentityNegotiation()
    identity.user_identity_type = identity_type
    identity.primary_field = b"someone"
    identity.secondary_field = b"secret" if identity_type == 2 else b""
    identity.positive_response_requested = True
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 5
    window.maximum_number_operations_performed = 5
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = ComputedRadiographyImageStorage
    extended.service_class_application_information = b"\x02\x00\x03\x00\x01\x00"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid = ComputedRadiographyImageStorage
    common.service_class_uid = "1.2.840.10008.4.2"
    return [
        identity,
        window,
        extended,
        common,
        build_role(ComputedRadiographyImageStorage, scu_role=True, scp_role=True),
    ]


def main():
    """One association for each type of user identity."""
    for identity_type in range(1, 6):
        ae = AE("PYNETDICOM")
        ae.maximum_pdu_size = 0
        for sop_class in (Verification, ComputedRadiographyImageStorage, CTImageStorage):
            ae.add_requested_context(sop_class)
        association = ae.associate(
            "127.0.0.1", int(sys.argv[1]), ae_title="THORASCRIBE", ext_neg=items(identity_type)
        )
        established = association.is_established
        agreed = {
            "established": established,
            "accepted": len(association.accepted_contexts),
            "rejected": [c.result for c in association.rejected_contexts],
            "syntaxes": sorted({c.transfer_syntax[0] for c in association.accepted_contexts}),
            "echo": association.send_c_echo().get("Status") if established else None,
            "roles": [
                [role.scu_role, role.scp_role]
                for role in association.acceptor.role_selection.values()
            ],
            "window": list(association.acceptor.asynchronous_operations),
            "identity": association.acceptor.user_identity is not None,
            "version": association.acceptor.implementation_version_name,
        }
        print(json.dumps(agreed), flush=True)
        if established:
            association.release()


main()
