"""What an A-ASSOCIATE-RJ says (PS3.8 §9.3.4), and the error that it is."""

from harmonygw.dicom.upperlayer.negotiation import AssociateRJ, AssociateRQ
from harmonygw.errors import RejectedError


def describe_rejection(answer: AssociateRJ) -> str:
    """Say what an A-ASSOCIATE-RJ says, in the standard's words (PS3.8 Table 9-21)."""
    lasting = {1: "permanently", 2: "for now"}.get(answer.result, f"with result {answer.result}")
    words = {
        (1, 2): "application context name not supported",
        (1, 3): "calling AE title not recognized",
        (1, 7): "called AE title not recognized",
        (2, 2): "protocol version not supported",
        (3, 1): "temporary congestion",
        (3, 2): "local limit exceeded",
    }.get((answer.source, answer.reason), "no reason given")
    return f"the association was rejected {lasting}: {words}"


def rejection(answer: AssociateRJ, request: AssociateRQ | None = None) -> RejectedError:
    """Return the error that an A-ASSOCIATE-RJ is; the AE titles of `request` are for the log."""
    titles = f"calling {request.calling_ae_title}, called {request.called_ae_title}" if request is not None else ""
    return RejectedError(
        describe_rejection(answer),
        result=answer.result,
        source=answer.source,
        reason=answer.reason,
        log_detail=titles,
    )
