"""A retrieval with a scripted `begin`: what each association brings, and what was asked of it."""

from collections.abc import Callable
from typing import Any

import pytest

from harmonygw.backends.dicom_scu.contexts import NATIVE
from harmonygw.backends.dicom_scu.expectation import Expectation
from harmonygw.backends.dicom_scu.retrieval import Attempt, NoContextError, NotOfferedError, Retrieval
from harmonygw.dicom.dataset.patient import Patient
from harmonygw.dicom.dimse.commands import CStoreRQ
from harmonygw.exchange import Record
from harmonygw.net.association.operations import Outcome
from harmonygw.net.association.receiving import Admission, Refusal
from harmonygw.operations import Level, Retrieve
from harmonygw.streams import Feed, Instance, Pieces
from tests.backends.dicom_scu.archive import Archive, instance

CT, MR, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT, J2K_LOSSLESS, JPEG = NATIVE[0], "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50"
STUDY = Retrieve(Level.STUDY, "1.2")
PATIENT = Patient("P1")
STUDY_KEYS = {"0020000D": {"vr": "UI", "Value": ["1.2"]}}


def came(uid: str, *, study_uid: str = "1.2", series_uid: str = "1.2.3", **leading: str) -> Instance:
    """An instance as the archive sends it."""
    data: Feed[Pieces] = Feed(limit=1)
    data.end()
    values = {"PatientID": "P1", **leading}
    return Instance(CT, uid, EXPLICIT, data, study_uid, series_uid, leading=values)


class Script:
    """What each association brings: instances (UIDs, or whole), then how it ends."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.begun: list[tuple[Level, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = []
        """Level, SOP Instance UIDs, SOP classes and transfer syntaxes of each association."""
        self.fresh: list[bool] = []
        self.decisions: list[Admission | Refusal] = []
        self.cancelled: list[BaseException] = []
        self.contexts_are_ours = True
        self.without_bulk_data = False

    async def begin(self, retrieve: Retrieve, classes: Any, syntaxes: Any, admit: Any, fresh: bool) -> Attempt:
        self.begun.append((retrieve.level, retrieve.sop_instance_uids, classes, syntaxes))
        self.fresh.append(fresh)
        *instances, end = self.answers.pop(0)
        if isinstance(end, NoContextError | NotOfferedError):
            raise end
        feed: Feed[Instance] = Feed(limit=100)
        outcome = end if isinstance(end, Outcome) else None
        attempt = Attempt(feed, lambda: outcome, self.cancelled.append, self.contexts_are_ours, self.without_bulk_data)
        arrived = _Arriving(
            feed, admit, [one if isinstance(one, Instance) else came(one) for one in instances], end, self
        )
        attempt.instances = arrived  # type: ignore[assignment]
        return attempt


class _Arriving:
    """Admits each instance when it is asked for, as if it came over the network only then."""

    def __init__(
        self, feed: Feed[Instance], admit: Callable[..., Any], instances: list[Instance], end: Any, script: Script
    ):
        self.feed, self.admit, self.instances, self.end, self.script = feed, admit, instances, end, script
        self.fail, self.aclose = feed.fail, feed.aclose

    @property
    def done(self) -> bool:
        return self.feed.done

    def __aiter__(self) -> "_Arriving":
        return self

    async def __anext__(self) -> Instance:
        if self.instances and not self.feed.done:
            one = self.instances.pop(0)
            command = CStoreRQ(1, one.sop_class_uid, one.sop_instance_uid)
            decision = self.admit(command, one)
            self.script.decisions.append(decision)
            if isinstance(decision, Admission):
                self.feed.put(one)
        elif isinstance(self.end, Exception):
            self.feed.fail(self.end)
        else:
            self.feed.end()
        return await self.feed.__anext__()


class Retrieving:
    def __init__(
        self,
        script: Script,
        archive: Archive | None = None,
        retrieve: Retrieve = STUDY,
        expectation: Expectation | None = None,
        **more: Any,
    ) -> None:
        self.script = script
        self.record = Record()
        self.archive = archive or Archive([], [])
        self.expectation = expectation or Expectation(PATIENT, STUDY_KEYS, classes=(CT,), count=2)
        self.retrieval = Retrieval(retrieve, self.expectation, script.begin, self.archive.search, self.record, **more)
        self.uids: list[str] = []

    async def run(self) -> list[str]:
        async for one in self.retrieval.instances():
            self.uids.append(one.sop_instance_uid)
        return self.uids

    async def failing(self, kind: type[Exception], sentence: str) -> Exception:
        with pytest.raises(kind, match=sentence) as caught:
            await self.run()
        assert type(caught.value) is kind
        return caught.value


SUCCESS = Outcome(0x0000)
SOME_FAILED = Outcome(0xB000, failed=1)
NO_CONTEXT = NoContextError("no context for CT", for_syntax=False)
NO_SYNTAX = NoContextError("no context for CT in any syntax", for_syntax=True)
TWO = {"1.2.3": [instance("1.2.3.4"), instance("1.2.3.5")]}
