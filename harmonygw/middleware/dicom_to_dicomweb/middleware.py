"""Which translation an operation takes."""

from typing import Final

from zope.interface import implementer

from harmonygw.dicom.dataset.implementation import IMPLEMENTATION_CLASS_UID
from harmonygw.errors import NotAcceptable
from harmonygw.exchange import Reply, Request
from harmonygw.middleware.dicom_to_dicomweb.finding import OriginMatches
from harmonygw.middleware.dicom_to_dicomweb.origin import ACCEPT_JSON, Origin, discard, refusal
from harmonygw.middleware.dicom_to_dicomweb.retrieving import Retrieval
from harmonygw.middleware.dicom_to_dicomweb.storing import Results
from harmonygw.operations import Echo, Find, Level, Retrieve, Store
from harmonygw.pipeline import Context, IMiddleware, Proceed

_ALIVE: Final = (200, 204, 206)

NO_STUDY: Final = IMPLEMENTATION_CLASS_UID
"""A UID of ours that no study has: looking for it costs a server next to nothing."""


@implementer(IMiddleware)
class DicomToDICOMweb:
    """Operations on its left side, DICOMweb requests on its right."""

    def __init__(self, context: Context) -> None:
        pass

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Translate an operation; what has none is an HTTP request already, and passes.

        Raises `NotAcceptable` for an operation of another kind: worklists and storage commitment are not asked here.
        """
        origin = Origin(request, proceed)
        match request.operation:
            case Find(level=Level.PATIENT):
                # The endpoint folds patients out of studies, for whatever archive has no such level.
                raise NotAcceptable("DICOMweb has no resource of patients")
            case Find() as find:
                matches = OriginMatches(origin, find)
                await matches.begin()
                return Reply(result=matches)
            case Retrieve() as retrieve:
                retrieval = Retrieval(origin, retrieve)
                await retrieval.begin()
                return Reply(result=retrieval)
            case Store() as store:
                return Reply(result=Results(origin, store))
            case Echo():
                return await _echo(origin)
            case None:
                return await proceed(request)
            case other:
                raise NotAcceptable(f"{type(other).__name__} is not translated to DICOMweb")


async def _echo(origin: Origin) -> Reply:
    """Prove that the server answers a Search, with these credentials: PS3.18 has no transaction for that alone."""
    query = (("StudyInstanceUID", NO_STUDY), ("limit", "1"))
    reply = await origin.ask(("studies",), accept=ACCEPT_JSON, query=query)
    if reply.status not in _ALIVE:
        raise await refusal(reply)
    await discard(reply)
    return Reply()
