"""C-FIND: a query of the pipeline, and its matches as pending responses (PS3.4 §C.4.1)."""

from collections.abc import Callable
from contextlib import aclosing

from harmonygw.dicom.dimse.commands import CFindRQ, CFindRSP
from harmonygw.dicom.dimse.statuses import PENDING, SUCCESS
from harmonygw.dicom.upperlayer.negotiation import AcceptedContext
from harmonygw.endpoints.dicom_scp.exchange import Circumstances, Exchange
from harmonygw.endpoints.dicom_scp.identifiers import Matches, decode_identifier, find_of, worklist_of
from harmonygw.endpoints.dicom_scp.offer import MODELS
from harmonygw.endpoints.dicom_scp.patients import Patients, studies_of
from harmonygw.endpoints.dicom_scp.statuses import Service
from harmonygw.errors import NotAcceptable
from harmonygw.net.association.requestor import MODALITY_WORKLIST_FIND
from harmonygw.operations import DataSet, Level
from harmonygw.operations import Matches as Found


class FindExchange(Exchange[CFindRQ]):
    """A C-FIND being served; a peer that reads slowly slows the archive down."""

    name = "C-FIND"
    service = Service.FIND

    def __init__(
        self,
        circumstances: Circumstances,
        context: AcceptedContext,
        command: CFindRQ,
        on_end: Callable[[], None],
        *,
        identifier: memoryview,
        retrieve_ae_title: str,
    ) -> None:
        super().__init__(circumstances, context, command, on_end)
        self._identifier = identifier
        self._retrieve_ae_title = retrieve_ae_title

    def is_of(self, sop_class_uid: str) -> bool:
        """Whether it is the FIND of an information model, or of the worklist."""
        if sop_class_uid == MODALITY_WORKLIST_FIND:
            return True
        model = MODELS.get(sop_class_uid)
        return model is not None and model.find == sop_class_uid

    async def carry_out(self) -> int:
        """Send a pending response for each match."""
        syntax = self.context.transfer_syntax
        identifier = decode_identifier(self._identifier, syntax)
        of_worklist = self.context.abstract_syntax == MODALITY_WORKLIST_FIND
        encoded = Matches(identifier, syntax, "" if of_worklist else self._retrieve_ae_title)
        pending = self._response(PENDING, has_data_set=True)
        record = self.request.record
        sent = 0
        found, patients = await self._find(identifier)
        async with aclosing(found) as matches:
            async for match in matches:
                if patients is not None and not patients.is_new(match):
                    continue
                self.send(pending, encoded.encode(match))
                sent += 1
                record.matches = sent
                await self.protocol.drained()
        for sentence in getattr(found, "warnings", ()):
            self.warn(sentence)
        return SUCCESS

    async def _find(self, identifier: DataSet) -> tuple[Found, Patients | None]:
        """Return the matches; and, when they are studies in the place of patients, who tells the patients."""
        if self.context.abstract_syntax == MODALITY_WORKLIST_FIND:
            return await self.ask(worklist_of(identifier)), None
        query = find_of(identifier, MODELS[self.context.abstract_syntax])
        try:
            return await self.ask(query), None
        except NotAcceptable:
            if query.level is not Level.PATIENT:
                raise
        return await self.ask(studies_of(query)), Patients()

    def respond(self, status: int, comment: str) -> None:
        """Send the final C-FIND-RSP."""
        self.send(self._response(status, has_data_set=False, comment=comment))

    def _response(self, status: int, *, has_data_set: bool, comment: str = "") -> CFindRSP:
        command = self.command
        return CFindRSP(command.message_id, command.affected_sop_class_uid, status, has_data_set, comment)
