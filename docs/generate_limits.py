"""Write docs/reference/limits.rst: every limit of the DIMSE edge, by its value and its reason as the code has them.

Run `python docs/generate_limits.py` after a change; a test holds the two together, and finds each test that is named.
"""

import ast
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import getsource
from itertools import pairwise
from pathlib import Path
from textwrap import dedent, fill
from typing import Any, Final, NamedTuple

TARGET = Path(__file__).parent / "reference" / "limits.rst"

HEAD: Final = """\
.. Written by docs/generate_limits.py; change the texts in the code instead.

Limits of the DIMSE edge
========================

Whoever connects to a ``dicom_scp`` endpoint is a stranger, and what a PACS sends is not believed either. Everything
that either can make long, many, deep or slow has a limit, and every limit is tested at its edge: exactly at it, and
beyond. A peer that breaks the protocol gets an A-ABORT with source and reason as PS3.8 Table 9-26 and §9.3.8 have
them, the log one line, and its place is free again; memory and time that it has cost are bounded by what stands
below.

An operator sets the **keys**, in the ``options`` of the endpoint or the backend (:doc:`/configuration`). The
**constants** are not meant to be changed: they follow from the standard, from what no real system ever reached, or
from each other.
"""


class Key(NamedTuple):
    """A limit that the configuration has: the class, its fields, and where each is tested at its edge."""

    title: str
    options: str
    tests: Mapping[str, str]


class Constants(NamedTuple):
    """Limits of the code: why they are no keys, and by module and name where each is tested at its edge."""

    title: str
    reason: str
    tests: Mapping[str, str]


_SCP, _LISTENER = "endpoints/dicom_scp/test_", "net/association/test_listener.py::"

KEYS: Final = (
    Key(
        "Associations that are requested of us: options of dicom_scp",
        "harmonygw.config.endpoint_options:DicomSCPOptions",
        {
            "max_associations": f"{_LISTENER}test_a_place_beyond_the_limit_is_refused_until_one_is_free",
            "max_associations_per_address": f"{_LISTENER}test_one_address_has_no_more_associations_than_its_limit",
            "association_timeout_secs": f"{_SCP}hostile.py::test_who_requests_no_association_is_closed_by_artim_"
            "whatever_trickles",
            "silence_timeout_secs": f"{_SCP}hostile.py::test_half_an_identifier_and_silence_is_aborted",
            "idle_association_secs": f"{_SCP}hostile.py::test_who_says_a_byte_now_and_then_is_not_kept",
            "max_pdu": f"{_SCP}hostile.py::test_the_longest_pdu_is_taken_and_not_waited_for",
            "max_identifier_bytes": f"{_SCP}association.py::test_an_identifier_has_a_greatest_length",
            "max_object_bytes": f"{_SCP}storing.py::test_an_instance_beyond_the_limit_is_refused_for_want_of_resources",
        },
    ),
    Key(
        "Associations that we request: options of dicom_scu",
        "harmonygw.config.backend_options:DicomSCUOptions",
        {
            "max_associations": "net/association/test_pool.py::"
            "test_a_place_is_free_when_the_connection_is_gone_and_not_before",
            "max_waiting": "net/association/test_pool.py::test_the_queue_of_each_kind_has_an_end",
            "queue_timeout_secs": "net/association/test_pool.py::"
            "test_who_waits_until_the_deadline_is_told_to_come_back",
            "idle_association_secs": "net/association/test_pool.py::test_an_association_that_nobody_uses_is_released_"
            "after_the_idle_time",
            "association_timeout_secs": "net/association/test_requestor.py::"
            "test_an_answer_that_does_not_come_is_timed_out",
            "silence_timeout_secs": "net/association/test_protocol_end.py::"
            "test_silence_while_an_answer_is_due_is_aborted",
            "cancel_grace_secs": "net/association/test_operations.py::"
            "test_a_cancel_that_is_ignored_is_aborted_after_the_"
            "grace_time",
            "move_grace_secs": "net/association/test_destination_end.py::"
            "test_success_with_nothing_arriving_ends_after_the_grace_time",
            "store_stall_secs": "backends/dicom_scu/test_storing_failures.py::"
            "test_who_keeps_the_pacs_waiting_amid_an_instance_loses_it",
            "max_pdu": "dicom/upperlayer/test_reader.py::test_a_pdu_longer_than_announced_is_refused_at_its_header",
            "max_object_bytes": "net/association/test_receiving.py::test_an_object_at_its_limit_is_taken_and_one_byte_"
            "more_is_not",
        },
    ),
    Key(
        "Worker processes for pixels: fields of WorkerLimits",
        "harmonygw.rendering.limits:WorkerLimits",
        {
            "max_queued": "rendering/test_workers.py::test_a_full_queue_refuses",
            "job_timeout_secs": "rendering/test_workers.py::test_a_job_may_take_its_time_and_no_more",
            "memory_limit_bytes": "rendering/test_worker_processes.py::"
            "test_memory_has_a_limit_and_a_job_that_wants_more_"
            "costs_no_process",
            "max_payload_bytes": "rendering/test_workers.py::"
            "test_a_payload_at_its_limit_is_taken_and_beyond_it_refused",
            "start_timeout_secs": "rendering/test_workers.py::test_a_process_that_does_not_get_ready_is_replaced",
            "cancel_grace_secs": "rendering/test_workers.py::test_a_cancelled_job_that_goes_on_is_ended",
        },
    ),
)

_ASSOCIATION, _SCU, _DATA, _PIXELS = (
    "net/association/test_",
    "backends/dicom_scu/test_",
    "dicom/dataset/test_",
    "rendering/test_",
)

CONSTANTS: Final = (
    Constants(
        "PDUs and negotiation",
        "The standard sets them, or nothing that is allowed comes near them.",
        {
            "dicom.upperlayer.reader.MAX_ASSOCIATE_PDU_LENGTH": "dicom/upperlayer/test_reader.py::"
            "test_associate_pdus_have_a_least_and_a_greatest_length",
            "dicom.upperlayer.reader.PDU_LENGTH_SLACK": "dicom/upperlayer/test_reader.py::"
            "test_a_pdu_longer_than_announced_is_refused_at_its_header",
            "dicom.upperlayer.items.MAX_REPEATED_ITEMS": "dicom/upperlayer/test_items.py::"
            "test_repeated_items_are_bounded",
            "dicom.upperlayer.negotiation.MAX_PRESENTATION_CONTEXTS": f"{_SCP}hostile.py::"
            "test_what_cannot_begin_an_association_is_aborted_by_the_user",
            "dicom.upperlayer.provider.MIN_PDU_LENGTH": "dicom/upperlayer/test_provider.py::"
            "test_a_peers_maximum_length_too_small_to_work_with_is_an_invalid_parameter",
            "dicom.upperlayer.provider.MAX_SEND_LENGTH": "dicom/upperlayer/test_provider.py::"
            "test_the_peers_maximum_length_is_respected",
        },
    ),
    Constants(
        "Connections, and what waits on an association",
        "They follow from the keys above and from the size of a read; they guard the process, not a policy.",
        {
            "net.association.listener.MAX_PENDING": f"{_LISTENER}"
            "test_connections_beyond_all_limits_are_closed_without_a_word",
            "net.association.listener.MAX_PENDING_PER_ADDRESS": f"{_LISTENER}"
            "test_nor_more_connections_that_say_nothing_"
            "and_others_still_get_in",
            "net.association.listener.DRAIN_IDLE": f"{_LISTENER}"
            "test_draining_waits_for_those_that_are_used_and_aborts_the_"
            "others",
            "net.association.protocol.PROGRESS_BYTES": f"{_ASSOCIATION}protocol_end.py::"
            "test_enough_bytes_are_one_and_so_is_the_end_of_a_message",
            "net.association.protocol.LINGER": f"{_ASSOCIATION}protocol_end.py::"
            "test_a_peer_that_neither_reads_nor_closes_is_reset_after_the_linger_time",
            "net.association.protocol.RELEASE_TIMEOUT": f"{_ASSOCIATION}protocol_end.py::"
            "test_a_release_that_is_not_answered_becomes_an_abort",
            "net.association.fragments.SMALL_FRAGMENT": f"{_ASSOCIATION}fragments.py::"
            "test_few_or_large_fragments_are_passed_on_as_they_are",
            "net.association.fragments.FEW_FRAGMENTS": f"{_ASSOCIATION}fragments.py::"
            "test_few_or_large_fragments_are_passed_on_as_they_are",
            "net.association.receiving.DATA_SET_WINDOW": f"{_ASSOCIATION}receiving.py::test_the_window_is_what_it_says",
            "net.association.receiving.PIECE_COST": f"{_ASSOCIATION}receiving.py::"
            "test_a_fragment_counts_for_what_it_takes",
            "net.association.operations.INSTANCE_WINDOW": f"{_ASSOCIATION}receiving.py::"
            "test_instances_that_nobody_takes_pause_the_peer",
            "net.association.destination.INSTANCE_WINDOW": f"{_ASSOCIATION}destination.py::"
            "test_instances_that_nobody_takes_pause_every_association_that_brings_another",
            "net.association.operations.MATCH_WINDOW": f"{_ASSOCIATION}operations.py::"
            "test_a_reader_that_does_not_read_pauses_the_peer",
        },
    ),
    Constants(
        "Messages",
        "A message beyond them is an error or an attack: what they allow is many times what a hospital sends.",
        {
            "dicom.dimse.messages.MAX_COMMAND_SET_LENGTH": "dicom/dimse/test_messages.py::"
            "test_a_command_set_may_be_as_long_as_the_limit_and_no_longer",
            "net.association.operations.MAX_IDENTIFIER_LENGTH": f"{_ASSOCIATION}operations.py::"
            "test_an_identifier_may_come_in_many_fragments_up_to_its_limit",
            "net.association.operations.MAX_UNDECODABLE": f"{_ASSOCIATION}operations.py::"
            "test_undecodable_values_are_remembered_once_and_not_without_bound",
            "net.association.event_reports.MAX_EVENT_LENGTH": f"{_ASSOCIATION}event_reports.py::"
            "test_a_report_has_a_greatest_length",
            "net.association.destination.MAX_MESSAGE_ID": f"{_ASSOCIATION}destination.py::"
            "test_message_ids_go_round_past_those_in_use_until_none_is_left",
            "endpoints.dicom_scp.identifiers.MAX_FAILED_UIDS": f"{_SCP}identifiers.py::"
            "test_a_list_of_failed_instances_fits_its_vr_however_many_there_are",
            "endpoints.dicom_scp.patients.MAX_PATIENTS": f"{_SCP}finding.py::"
            "test_more_patients_than_can_be_told_apart_fail_the_query",
            "endpoints.dicom_scp.retrieving.MAX_ROWS": f"{_SCP}retrieving_patients.py::"
            "test_a_patient_with_too_many_studies_is_refused_and_not_cut_short",
            "endpoints.dicom_scp.retrieving.MAX_NUMBER": f"{_SCP}retrieving.py::"
            "test_a_number_is_never_more_than_a_response_can_say",
            "endpoints.dicom_scp.delivery.RESPONSE_TIMEOUT": f"{_SCP}delivery.py::"
            "test_a_destination_that_does_not_answer_is_given_up",
        },
    ),
    Constants(
        "What is asked of a PACS, and what it brings",
        "They bound our own work for one request; a request that needs more fails, and says which limit.",
        {
            "backends.dicom_scu.backend.MAX_ROWS": f"{_SCU}backend.py::"
            "test_too_many_rows_beforehand_are_not_cut_in_silence",
            "backends.dicom_scu.contexts.MAX_CONTEXTS": f"{_SCU}contexts.py::"
            "test_128_contexts_all_fit_and_one_more_does_not",
            "backends.dicom_scu.patient_root.MAX_PATIENTS": f"{_SCU}patient_root.py::"
            "test_no_more_patients_are_walked_than_the_bound",
            "backends.dicom_scu.retrieval.MAX_LEFT_OUT": f"{_SCU}retrieval.py::test_too_many_left_out_fail_at_once",
            "backends.dicom_scu.retrieval.MAX_ROUNDS": f"{_SCU}retrieval.py::"
            "test_the_count_of_associations_for_what_is_left_out_is_bounded",
            "backends.dicom_scu.expectation.MAX_EXPECTATIONS": f"{_SCU}memory.py::"
            "test_the_answer_that_was_used_longest_ago_makes_room",
            "backends.dicom_scu.commitment.MAX_TRANSACTIONS": f"{_SCU}commitment.py::"
            "test_beyond_the_limit_the_oldest_that_is_done_makes_room",
            "backends.dicom_scu.commitment.MAX_REMEMBERED": f"{_SCU}commitment.py::"
            "test_beyond_the_limit_the_oldest_that_is_done_makes_room",
            "backends.dicom_scu.commitment.TRANSACTION_SECS": f"{_SCU}commitment.py::"
            "test_a_transaction_is_forgotten_in_time",
            "backends.dicom_scu.storing.STALL_BYTES": f"{_SCU}storing_failures.py::"
            "test_a_trickle_of_bytes_is_no_progress_and_enough_of_them_is",
            "backends.dicom_scu.storing.HOLD_SECS": f"{_SCU}storing.py::"
            "test_a_place_is_not_held_for_who_brings_no_instance",
        },
    ),
    Constants(
        "Data sets",
        "A data set is read as it streams by, in bounded memory: these say how deep, how many, and how much "
        "of it is kept.",
        {
            "dicom.dataset.limits.MAX_NESTING_DEPTH": f"{_DATA}elements.py::"
            "test_sequences_may_nest_as_deep_as_the_limit",
            "dicom.dataset.limits.MAX_INFLATED_BYTES": f"{_DATA}elements.py::test_inflating_stops_at_the_limit",
            "dicom.dataset.limits.MAX_INFLATION_RATIO": f"{_DATA}deflation.py::"
            "test_a_thousandfold_is_refused_once_it_exceeds_the_allowance",
            "dicom.dataset.limits.INFLATION_ALLOWANCE": f"{_DATA}deflation.py::"
            "test_a_thousandfold_is_refused_once_it_exceeds_the_allowance",
            "dicom.dataset.elements.MAX_INFLATION": f"{_DATA}elements.py::test_inflating_stops_at_the_limit",
            "dicom.dataset.header_scan.HEADER_SCAN_LIMIT": f"{_DATA}header_scan.py::"
            "test_no_more_is_held_than_the_limit_and_the_rest_of_the_last_piece",
            "dicom.dataset.header_scan.MAX_INFLATED": f"{_DATA}header_scan_whole.py::"
            "test_a_whole_deflated_data_set_is_inflated_up_to_a_limit",
            "dicom.dataset.header_scan.MAX_NESTING_DEPTH": f"{_DATA}header_scan.py::"
            "test_sequences_nest_as_deep_as_the_limit_and_no_deeper",
            "dicom.dataset.header_scan.SMALL_PIECE": f"{_DATA}header_scan.py::test_many_small_pieces_are_joined",
            "dicom.dataset.metadata_scan.MAX_METADATA_BYTES": f"{_DATA}metadata_scan.py::test_what_is_kept_is_limited",
            "dicom.dataset.character_sets.MAX_CHARACTER_SETS": f"{_DATA}character_sets.py::"
            "test_character_sets_are_made_once_and_not_kept_without_bound",
            "dicom.dataset.character_sets.MAX_TERMS": f"{_DATA}json_encoding.py::"
            "test_what_the_character_set_says_beyond_the_limits_is_not_looked_at",
            "dicom.dataset.dictionary.MAX_KEYWORD_LENGTH": f"{_DATA}dictionary.py::"
            "test_only_the_beginning_of_a_long_keyword_is_compared",
            "dicom.dataset.layout.MAX_HIDDEN_VALUES": f"{_DATA}layout.py::test_values_in_un_are_located_up_to_a_number",
            "dicom.dataset.layout.MAX_HIDDEN_DEPTH": f"{_DATA}layout.py::test_un_is_looked_into_up_to_a_depth",
            "dicom.dataset.frames.MAX_FRAGMENTS": f"{_DATA}frames.py::test_fragments_are_limited",
            "dicom.dataset.transcoding.MAX_FRAME_BYTES": f"{_DATA}transcoding.py::test_a_frame_has_a_limit",
            "dicom.dataset.part10.MAX_FILE_META_LENGTH": f"{_DATA}part10.py::"
            "test_file_meta_information_may_be_as_long_as_the_limit_and_no_longer",
            "dicom.dataset.part10.MAX_UID_LENGTH": "dicom/dimse/test_commands.py::"
            "test_what_cannot_be_a_uid_is_refused_by_name",
            "dicom.dataset.part10.MAX_AE_TITLE_LENGTH": "dicom/dimse/test_commands.py::"
            "test_what_cannot_be_an_ae_title_is_refused",
            "dicom.dataset.pixels.MOST_SAMPLES_PER_PIXEL": "rendering/test_native.py::"
            "test_a_description_that_no_frame_has_is_refused",
        },
    ),
    Constants(
        "Pixels, in worker processes",
        "They keep a frame within what a worker process may use, which keys say.",
        {
            "rendering.limits.MAX_FRAME_PIXELS": f"{_PIXELS}native.py::test_a_description_at_a_limit_is_taken",
            "rendering.limits.MAX_FRAME_BYTES": f"{_PIXELS}native.py::test_a_description_that_no_frame_has_is_refused",
            "rendering.limits.MAX_SAMPLES_PER_PIXEL": f"{_PIXELS}native.py::"
            "test_a_description_that_no_frame_has_is_refused",
            "rendering.content_tree.MAX_CONTENT_ITEMS": f"{_PIXELS}content_tree.py::"
            "test_a_report_has_max_content_items_at_most",
            "rendering.data_sets.MAX_HELD_BYTES": f"{_PIXELS}data_sets.py::"
            "test_what_stands_before_the_first_frame_waits_for_it_up_to_a_bound",
            "rendering.geometry.MAX_VIEWPORT": f"{_PIXELS}geometry.py::"
            "test_the_largest_viewport_has_max_viewport_pixels_a_side",
            "rendering.icc_profiles.MAX_PROFILE_BYTES": f"{_PIXELS}icc_profiles.py::"
            "test_a_profile_of_max_profile_bytes_is_taken_and_a_longer_one_is_not",
            "rendering.lookup_tables.MAX_ENTRIES": f"{_PIXELS}lookup_tables.py::test_a_count_of_zero_is_65536",
            "rendering.picture.MAX_ANIMATION_PIXELS": f"{_PIXELS}picture.py::"
            "test_an_animation_has_max_animation_pixels_at_most",
            "rendering.rle.MAX_SEGMENTS": f"{_PIXELS}rle.py::test_more_segments_than_a_header_has_are_refused",
            "rendering.wire.MAX_MESSAGE": f"{_PIXELS}wire.py::"
            "test_the_longest_message_passes_and_a_longer_one_does_not",
            "rendering.worker.MAX_PROCESSES": f"{_PIXELS}worker_processes.py::test_a_worker_may_start_nothing",
            "rendering.worker.MAX_OPEN_FILES": f"{_PIXELS}worker_processes.py::"
            "test_a_worker_opens_no_more_files_than_it_may",
            "rendering.worker.ALARM_GRACE_SECS": f"{_PIXELS}worker_processes.py::"
            "test_a_job_without_a_gateway_ends_its_process_too",
            "rendering.workers.MAX_LAST_WORDS": f"{_PIXELS}workers.py::test_last_words_are_limited",
            "rendering.workers.GIVE_UP_AFTER": f"{_PIXELS}workers_starting.py::"
            "test_as_long_as_none_starts_who_asks_is_told_at_once",
        },
    ),
)


def main() -> None:
    TARGET.write_text(reference(), encoding="utf-8")


def reference() -> str:
    """Return the page."""
    return "\n".join([HEAD, *_keys(), *_constants()]).rstrip() + "\n"


def value_of(name: str) -> Any:
    """Return the value of a constant, by its name without the package's."""
    module, _, constant = name.rpartition(".")
    return getattr(import_module(f"harmonygw.{module}"), constant)


def options_of(key: Key) -> type:
    """Return the class whose fields they are."""
    module, _, name = key.options.partition(":")
    found: type = getattr(import_module(module), name)
    return found


def _keys() -> Iterator[str]:
    for key in KEYS:
        cls = options_of(key)
        yield _heading(key.title)
        notes = _notes(dedent(getsource(cls)), inside=True)
        for name, test in key.tests.items():
            default = cls.__dataclass_fields__[name].default  # type: ignore[attr-defined]
            yield _entry(f"``{name}``, {_number(default)} unless given", notes[name], test)


def _constants() -> Iterator[str]:
    for group in CONSTANTS:
        yield _heading(group.title)
        yield group.reason + "\n"
        for name, test in group.tests.items():
            module, _, constant = name.rpartition(".")
            notes = _notes(getsource(import_module(f"harmonygw.{module}")))
            yield _entry(f"``{constant}`` = {_number(value_of(name))} (``{module}``)", notes[constant], test)


def _entry(what: str, why: str, test: str) -> str:
    text = " ".join(why.split()).replace("`", "``").replace("````", "``")
    return (
        f"{what}\n{fill(text, 110, initial_indent='    ', subsequent_indent='    ')}\n\n    At its edge: ``{test}``\n"
    )


def _heading(title: str) -> str:
    return f"{title}\n{'-' * len(title)}\n"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _notes(source: str, *, inside: bool = False) -> dict[str, str]:
    """Return the texts beneath the names that a module, or the class in it, assigns."""
    body: list[ast.stmt] = ast.parse(source).body
    if inside:
        body = next(one for one in body if isinstance(one, ast.ClassDef)).body
    notes = {}
    for one, below in pairwise(body):
        target = one.targets[0] if isinstance(one, ast.Assign) else getattr(one, "target", None)
        if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            notes[target.id] = str(below.value.value)
    return notes


if __name__ == "__main__":
    main()
