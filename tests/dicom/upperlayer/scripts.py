"""PDUs written by hand, and upper layers brought into a state by them."""

from struct import pack

from harmonygw.dicom.upperlayer.machine import State
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
)
from harmonygw.dicom.upperlayer.pdus import encode_associate_ac, encode_associate_rq
from harmonygw.dicom.upperlayer.provider import UpperLayer

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

RQ = AssociateRQ("ARCHIVE", "GATEWAY", (ProposedContext(1, CT, (IMPLICIT,)),))
AC = AssociateAC("ARCHIVE", "GATEWAY", (ContextResult(1, 0, IMPLICIT),))
RJ = AssociateRJ(2, 3, 1)

RQ_PDU = encode_associate_rq(RQ)
AC_PDU = encode_associate_ac(AC)
RJ_PDU = bytes.fromhex("0300 00000004 00020301")
RELEASE_RQ = bytes.fromhex("0500 00000004 00000000")
RELEASE_RP = bytes.fromhex("0600 00000004 00000000")
UNKNOWN_PDU = bytes.fromhex("0900 00000004 00000000")


def abort(source: int, reason: int) -> bytes:
    return bytes((7, 0, 0, 0, 0, 4, 0, 0, source, reason))


def pdv(data: bytes, context_id: int = 1, control: int = 0) -> bytes:
    return pack(">IBB", len(data) + 2, context_id, control) + data


def p_data(*pdvs: bytes) -> bytes:
    return pack(">BxI", 4, sum(map(len, pdvs))) + b"".join(pdvs)


def item(item_type: int, body: bytes) -> bytes:
    return pack(">BxH", item_type, len(body)) + body


def associate(pdu_type: int, *items: bytes, called: bytes = b"ARCHIVE", calling: bytes = b"GATEWAY") -> bytes:
    """Return an A-ASSOCIATE-RQ or -AC with protocol version 1 and these items."""
    body = b"\0\1\0\0" + called.ljust(16) + calling.ljust(16) + bytes(32) + b"".join(items)
    return pack(">BxI", pdu_type, len(body)) + body


P_DATA = p_data(pdv(b"data", control=2))
ARTIM = 30.0


def layer_in(state: State) -> UpperLayer:
    """Return an upper layer that has come to `state` at time 0, with nothing left to write."""
    layer = UpperLayer(requestor=state.name in ("Sta4", "Sta5", "Sta6", "Sta7", "Sta9", "Sta11"))
    way = {
        "Sta1": "",
        "Sta2": "connected",
        "Sta3": "connected rq",
        "Sta4": "associate",
        "Sta5": "associate connected",
        "Sta6": "associate connected ac",
        "Sta7": "associate connected ac release",
        "Sta8": "connected rq accept release_rq",
        "Sta9": "associate connected ac release release_rq",
        "Sta10": "connected rq accept release release_rq",
        "Sta11": "associate connected ac release release_rq release_response",
        "Sta12": "connected rq accept release release_rq release_rp",
        "Sta13": "connected rq accept abort",
    }[state.name]
    received = {"rq": RQ_PDU, "ac": AC_PDU, "release_rq": RELEASE_RQ, "release_rp": RELEASE_RP}
    for step in way.split():
        if step in received:
            layer.receive(received[step], 0.0)
        elif step == "associate":
            layer.associate(RQ, 0.0)
        elif step == "accept":
            layer.accept(AC, 0.0)
        else:
            getattr(layer, step)(0.0)
    layer.take()
    assert layer.state is state
    return layer


def sent(layer: UpperLayer) -> bytes:
    return b"".join(layer.take())
