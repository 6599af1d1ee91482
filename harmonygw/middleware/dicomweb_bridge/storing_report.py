"""What became of the instances of a Store: noted as it is known, and answered with at the end (PS3.18 §10.5.3).

The status is known only at the end, and a request may have a million instances: their items wait in spools.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from harmonygw.dicom.dimse.statuses import Category, category, describe
from harmonygw.dicom.web import media_types, store_response
from harmonygw.dicom.web.resources import url
from harmonygw.dicom.web.store_response import SEPARATOR, Section
from harmonygw.exchange import Record, Reply
from harmonygw.middleware.dicomweb_bridge.access import Access
from harmonygw.middleware.dicomweb_bridge.spooling import Spool
from harmonygw.middleware.dicomweb_bridge.warning import warning
from harmonygw.streams import Body, Instance, Pieces

MAX_REPORT_BYTES: Final = 1024 * 1024 * 1024
"""Bytes of all items of one response, most of them on the disk. Default 1 GiB: three million instances. Parts beyond
are not read, and so not stored; the response says so."""

NOT_READ: Final = (
    f"The response would have exceeded MAX_REPORT_BYTES ({MAX_REPORT_BYTES} bytes). "
    "Parts behind those that it names were not read, and not stored."
)


class Report:
    """The results of one Store."""

    def __init__(self, access: Access, base_url: str, study: str, record: Record) -> None:
        self._access = access
        self._base_url = base_url
        self._record = record
        self._study = study
        self._of_several_studies = False
        self._spools: dict[Section, Spool] = {}
        self._warned = False
        self.stored = 0
        """Instances that were stored, with or without a warning."""
        self.failed = 0
        """Instances and other parts that were not."""
        self.cut_short = False
        """Whether there were more parts than can be reported."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be noted but what was begun."""
        return sum(spool.size for spool in self._spools.values()) >= MAX_REPORT_BYTES

    def note(self, instance: Instance, status: int, detail: str = "") -> None:
        """Note the status of an instance's C-STORE; see that `settle` is called before long."""
        success = category(status)
        if success not in (Category.SUCCESS, Category.WARNING):
            said = detail or f"the archive answered with status {describe(status)}"
            self.note_failure(status, said, instance.sop_class_uid, instance.sop_instance_uid)
            return
        study = instance.study_instance_uid
        self._of_several_studies = self._of_several_studies or study != (self._study or study)
        self._study = self._study or study
        self.stored += 1
        self._record.instances = self.stored
        warned = success is Category.WARNING
        self._warned = self._warned or warned
        where = url(self._base_url, study, instance.series_instance_uid, instance.sop_instance_uid)
        self._add(
            Section.STORED,
            store_response.stored_item(
                instance.sop_class_uid, instance.sop_instance_uid, where, status if warned else None
            ),
        )

    def remark(self, sentence: str) -> None:
        """Tell the operator, and nobody else."""
        self._record.note(sentence)

    def note_failure(self, reason: int, detail: str, sop_class_uid: str = "", sop_instance_uid: str = "") -> None:
        """Note what was not stored: an instance, when both UIDs are known, or something else."""
        self.failed += 1
        if detail:
            self._record.note(f"not stored: {detail}")
        if sop_class_uid and sop_instance_uid:
            self._add(Section.FAILED, store_response.failed_item(sop_class_uid, sop_instance_uid, reason))
        else:
            self._add(Section.OTHER, store_response.other_item(reason))

    def _add(self, section: Section, item: bytes) -> None:
        spool = self._spools.get(section)
        if spool is None:
            spool = self._spools[section] = self._access.new_spool()
        else:
            spool.add(SEPARATOR)
        spool.add(item)

    async def settle(self) -> None:
        """Bring to the disk what is too much for memory; raises `TransportError` when there is no room for it."""
        for spool in tuple(self._spools.values()):
            await spool.settle()

    def reply(self, media_type: str) -> Reply:
        """Return the reply: 200 when all are stored, 202 when some are, 409 when none is (PS3.18 Table 10.5.3-1)."""
        status = 409
        if self.stored:
            status = 202 if self.failed or self._warned or self.cut_short else 200
        made = self._module(media_type)
        headers = [("Content-Type", media_type)]
        if self.cut_short:
            headers.append(("Warning", warning(NOT_READ)))
        return Reply(status, tuple(headers), Body(made))

    async def _module(self, media_type: str) -> AsyncGenerator[Pieces, None]:
        where = url(self._base_url, self._study) if self.stored and not self._of_several_studies else ""
        sections = {section: spool.pieces for section, spool in self._spools.items()}
        write = store_response.as_xml if media_type == media_types.DICOM_XML else store_response.as_json
        try:
            async with aclosing(write(where, sections)) as module:
                async for pieces in module:
                    yield pieces
        finally:
            self.close()

    def close(self) -> None:
        """Give the items up."""
        for spool in self._spools.values():
            spool.close()
