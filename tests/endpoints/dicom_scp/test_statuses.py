import pytest

from harmonygw import errors
from harmonygw.endpoints.dicom_scp.statuses import Service, comment_of, status_of

SERVICES = (Service.STORAGE, Service.FIND, Service.RETRIEVE, Service.VERIFICATION)


@pytest.mark.parametrize(
    ("error", "of_services"),
    [
        (errors.Denied("no"), (0x0124, 0x0124, 0x0124, 0x0124)),
        (errors.InsufficientScope("no"), (0x0124, 0x0124, 0x0124, 0x0124)),
        (errors.NotFound("no"), (0xC000, 0x0000, 0x0000, 0x0110)),
        (errors.TooLarge("no"), (0xA700, 0xA700, 0xA702, 0x0110)),
        (errors.BadRequest("no"), (0xC000, 0xA900, 0xA900, 0x0110)),
        (errors.Conflict("no"), (0xC000, 0xA900, 0xA900, 0x0110)),
        (errors.NotAcceptable("no"), (0xC000, 0xA900, 0xA702, 0x0110)),
        (errors.Busy("no"), (0xA700, 0xA700, 0xA702, 0x0213)),
        (errors.RateLimited("no"), (0xA700, 0xA700, 0xA702, 0x0213)),
        (errors.TimedOut("no"), (0xA700, 0xC000, 0xC000, 0x0110)),
        (errors.TransportError("no"), (0xA700, 0xC000, 0xC000, 0x0110)),
        (errors.PeerError("no"), (0x0110, 0xC000, 0xC000, 0x0110)),
        (errors.Incomplete("no"), (0x0110, 0xC000, 0xC000, 0x0110)),
        (errors.ConfigurationError(("no",)), (0x0110, 0xC000, 0xC000, 0x0110)),
        (errors.RejectedError("no", result=1, source=1, reason=7), (0x0110, 0xC000, 0xC000, 0x0110)),
        (errors.RejectedError("no", status=0xA801), (0xA801, 0xA801, 0xA801, 0xA801)),
        (errors.RejectedError("no", status=0xFE00), (0x0110, 0xC000, 0xC000, 0x0110)),
    ],
)
def test_every_error_has_a_status_of_each_service(
    error: errors.HarmonyError, of_services: tuple[int, int, int, int]
) -> None:
    assert tuple(status_of(error, one) for one in SERVICES) == of_services


def test_the_comment_is_the_sentence_for_the_client_and_a_policy_says_nothing() -> None:
    assert comment_of(errors.Busy("the queue is full", log_detail="10.1.1.1")) == "the queue is full"
    assert comment_of(errors.Denied("rule wards")) == "not authorized"
