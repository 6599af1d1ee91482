"""What may go wrong around a gateway, what it does then, and the tests that hold it to that.

`docs/reference/faults.rst` is made of this: `python -m tests.interop.matrix` writes it.
"""

from pathlib import Path
from textwrap import fill
from typing import Final

from tests.interop.fault_rows import (
    AUDIT,
    CACHE,
    CHANNEL,
    CLIENT,
    COLLECTOR,
    KEYS,
    LINK,
    MACHINE,
    MOVE,
    OBJECTS,
    PARTIAL,
    PROTOCOL,
    PROXY,
    RELOAD,
    RETRIEVE,
    SHELF,
    STOP,
    STORE,
    STOW,
    Row,
)
from tests.interop.safety_rules import SAFETY_RULES

TESTS: Final = Path(__file__).resolve().parents[1]
PAGE: Final = TESTS.parent / "docs" / "reference" / "faults.rst"


THE_PACS: Final = (
    Row(
        "The PACS refuses the connection",
        "502, naming the target. After three failures in a row requests are refused at once with 503 and Retry-After, "
        "and a C-ECHO asks whether it is back.",
        (
            LINK + "tcp_refused_is_502_naming_the_target_and_counts_for_the_circuit",
            LINK + "after_three_failures_the_circuit_refuses_at_once_with_retry_after",
        ),
    ),
    Row(
        "Nothing answers at its address",
        "504 after ``connect_timeout_secs``.",
        (
            LINK + "swallowed_syns_are_504_at_the_connect_timeout",
            PROXY + "an_address_that_swallows_connections_is_504_at_the_connect_time_out",
        ),
    ),
    Row(
        "It takes the connection and never answers the A-ASSOCIATE-RQ",
        "504 after ``association_timeout_secs``; A-ABORT.",
        (LINK + "an_association_that_is_never_answered_is_504_and_aborted",),
    ),
    Row(
        "It rejects the association for good: an AE title that it does not know",
        "502, naming the AE title. There is no second try.",
        (LINK + "a_permanent_rejection_is_502_naming_the_ae_title_and_not_retried",),
    ),
    Row(
        "It rejects the association for now: too many of them",
        "The request waits and tries again within ``queue_timeout_secs``; then 503 with Retry-After.",
        (
            LINK + "a_transient_rejection_is_retried_until_there_is_a_place",
            LINK + "a_transient_rejection_beyond_the_deadline_is_503_with_retry_after",
        ),
    ),
    Row(
        "It accepts none of the presentation contexts",
        "502, naming SOP class and transfer syntax; 406 when the transfer syntax is what the request insists on.",
        (
            LINK + "no_context_for_the_query_is_502_naming_sop_class_and_syntax",
            LINK + "no_storage_context_is_502_naming_sop_class_and_syntax",
            LINK + "no_storage_context_for_the_requests_own_syntax_is_406",
        ),
    ),
    Row(
        "The association is lost before the first answer or object",
        "One more try on a new association, which the log line notes; then 502.",
        (
            RETRIEVE + "an_association_lost_before_the_first_object_is_tried_once_more",
            RETRIEVE + "an_association_lost_before_the_first_object_twice_is_502",
            LINK + "an_association_lost_before_the_first_match_is_tried_once_more",
            LINK + "an_association_lost_before_the_first_match_twice_is_502",
        ),
    ),
    Row(
        "The association is lost amid a retrieval",
        "The HTTP connection is reset, without the last boundary and the last chunk.",
        (
            RETRIEVE + "an_association_lost_after_the_first_byte_breaks_the_reply_off",
            RETRIEVE + "an_instance_by_itself_is_broken_off_too",
            RETRIEVE + "metadata_is_broken_off_too",
            MOVE + "an_association_lost_amid_a_move_breaks_the_reply_off",
            CACHE + "an_association_lost_amid_an_object_breaks_every_client_off",
        ),
    ),
    Row(
        "It says at the end that sub-operations failed, or counts more than came",
        "What did not come is asked for again. What is missing then resets the HTTP connection; with "
        '``partial = "report"`` the answer is 206 with what came, and a Warning that names what did not.',
        (
            RETRIEVE + "failed_sub_operations_are_asked_for_again_and_break_the_reply_off_when_they_fail",
            RETRIEVE + "success_with_too_few_instances_for_ever_breaks_the_reply_off",
            RETRIEVE + "sub_operations_that_all_failed_are_502",
            PARTIAL + "what_came_is_206_and_what_did_not_is_named",
            PARTIAL + "nothing_is_502_as_ever",
            PARTIAL + "an_association_that_is_lost_is_502_and_nothing_of_it_gets_out",
            PARTIAL + "what_is_too_much_and_what_ends_as_a_file_is_broken_off",
        ),
    ),
    Row(
        "It falls silent",
        "A-ABORT after ``silence_timeout_secs``; 504, or a reset where bytes have gone out.",
        (
            RETRIEVE + "silence_before_the_first_object_is_504_and_aborted",
            RETRIEVE + "silence_amid_an_object_breaks_the_reply_off_and_aborts_the_association",
            LINK + "a_query_without_an_answer_is_504_and_the_association_aborted",
        ),
    ),
    Row(
        "It vanishes, and its connection stays half open",
        "The same: the place is free again after ``silence_timeout_secs``. Idle associations have TCP keepalive, and "
        "one that is gone is replaced unnoticed.",
        (
            OBJECTS + "a_peer_that_vanished_without_a_word_frees_its_place",
            LINK + "an_idle_association_that_the_pacs_aborted_is_replaced_unnoticed",
            "net/association/test_protocol_end.py::test_a_peer_that_neither_reads_nor_closes_is_reset_after_the_linger_time",
        ),
    ),
    Row(
        "It breaks the protocol: a PDU of 4 GiB, a PDV that overruns its PDU, an unknown PDU type, half a command set",
        "A-ABORT with source and reason as PS3.8 has them, before any memory is taken for it; 502, or a reset.",
        (
            LINK + "what_breaks_the_protocol_is_502_and_aborted_with_source_and_reason",
            RETRIEVE + "what_breaks_the_protocol_breaks_the_reply_off_and_aborts",
            PROTOCOL + "the_peers_errors_are_aborted_with_source_and_reason",
        ),
    ),
    Row(
        "It sends a data set nested ten thousand deep, or a little that inflates to very much",
        "502, or a reset, naming the limit: ``MAX_NESTING_DEPTH``, ``MAX_INFLATION_RATIO``.",
        (
            OBJECTS + "a_match_nested_without_end_is_502_naming_the_limit",
            OBJECTS + "an_object_nested_without_end_is_502_naming_the_limit",
            OBJECTS + "an_object_that_inflates_a_thousandfold_fails_naming_the_limit",
        ),
    ),
    Row(
        "It sends a UID with ``../``, NUL or 65 characters",
        "A-ABORT and 502; in a match it cannot climb out of a URL, nor out of a folder as a file's name.",
        (
            RETRIEVE + "a_uid_that_cannot_be_one_is_502_and_aborted",
            OBJECTS + "a_uid_in_a_match_cannot_climb_out_of_a_url",
            PROTOCOL + "a_hostile_uid_in_a_command_set_is_aborted",
            "interop/test_receiver.py::test_hostile_values_stay_below_the_root",
        ),
    ),
    Row(
        "It sends an object that was not asked for",
        "C-STORE-RSP 0124H. In a retrieval that fails the exchange: C-CANCEL and 502, or a reset.",
        (
            RETRIEVE + "an_object_that_was_not_asked_for_is_refused_and_the_exchange_fails",
            MOVE + "what_the_move_did_not_ask_for_is_refused",
            MOVE + "what_nobody_asked_for_is_refused_at_any_time",
        ),
    ),
    Row(
        "A C-MOVE reports success, and nothing arrives",
        "502 after ``move_grace_secs``.",
        (
            MOVE + "success_without_any_instance_is_502_after_the_grace_time",
            "net/association/test_destination_end.py::test_success_with_nothing_arriving_ends_after_the_grace_time",
        ),
    ),
    Row(
        "A C-STORE arrives after its C-MOVE was cancelled",
        "C-STORE-RSP 0124H.",
        (
            MOVE + "what_comes_after_a_cancelled_move_is_refused",
            "net/association/test_destination_end.py::test_giving_a_move_up_cancels_it_and_refuses_what_comes_late",
        ),
    ),
    Row(
        "A C-FIND has a million matches",
        "C-CANCEL at ``max_results``; Warning 299.",
        (LINK + "an_endless_answer_is_cancelled_at_the_bound_and_warned_of",),
    ),
    Row(
        "It ignores a C-CANCEL",
        "A-ABORT after ``cancel_grace_secs``, and the place is free.",
        (
            LINK + "a_cancel_that_is_ignored_is_followed_by_an_abort",
            CLIENT + "a_pacs_that_ignores_the_cancel_is_aborted_after_the_grace_time",
        ),
    ),
    Row(
        "It refuses some instances of a Store",
        "202, and each with its status in the Failed SOP Sequence.",
        (STORE + "what_the_pacs_refuses_is_202_with_its_reason_and_the_rest_is_stored",),
    ),
    Row(
        "Its response to a C-STORE is lost",
        "The instance is reported as failed, never as stored.",
        (
            STORE + "what_was_sent_and_never_answered_was_not_stored",
            STORE + "a_pacs_that_never_answers_has_stored_nothing",
            "interop/test_faults_dimse_over_http.py::test_a_store_whose_response_is_lost_was_not_stored",
        ),
    ),
)

THE_CLIENT: Final = (
    Row(
        "A client goes away amid a retrieval or a search",
        "C-CANCEL within a second; the association is kept for the next request.",
        (
            CLIENT + "a_client_that_goes_away_amid_a_study_cancels_the_c_get_within_a_second",
            CLIENT + "a_client_that_goes_away_before_the_first_object_cancels_too",
            CLIENT + "a_client_that_goes_away_amid_a_search_cancels_the_c_find",
            PARTIAL + "who_goes_away_while_it_is_gathered_has_it_cancelled",
        ),
    ),
    Row(
        "A client does not read",
        "The PACS is slowed down, and memory stays bounded. After ``write_timeout_secs`` without progress the "
        "connection is reset, and the retrieval cancelled.",
        (
            CLIENT + "a_client_that_never_reads_costs_little_and_ends_at_the_write_deadline",
            CLIENT + "a_search_is_served_while_a_retrieval_is_stalled",
        ),
    ),
    Row(
        "Very many clients do not read",
        "Each stream costs its windows and no more. Who finds no association within ``queue_timeout_secs`` gets 503.",
        (MACHINE + "many_clients_that_do_not_read_cost_little_memory_and_the_rest_is_told_to_come_again",),
    ),
    Row(
        "A header or a body trickles, or connections say nothing",
        "408 at the deadline, and the connection is closed. Others are served meanwhile; connections beyond the "
        "limit get 503.",
        (
            CHANNEL + "a_header_trickle_gets_408_at_the_deadline_and_is_closed",
            CHANNEL + "a_connection_that_says_nothing_gets_408_at_the_deadline",
            CHANNEL + "a_body_trickle_is_no_progress",
            "net/http/test_server.py::test_a_connection_too_many_gets_503_and_others_are_served_meanwhile",
        ),
    ),
    Row(
        "The body of a Store stalls, or exceeds the limit",
        "408, or 413; nothing unfinished is left on the disk or at the PACS.",
        (
            STOW + "a_body_that_stalls_is_408_and_nothing_is_left",
            STOW + "a_body_over_the_limit_is_413_and_the_client_gets_to_see_it",
            STOW + "a_client_that_goes_away_leaves_nothing_unfinished",
        ),
    ),
    Row(
        "A hundred clients ask for the same at once",
        "With a cache it is one retrieval. Whoever began it may go: the others get it to its end.",
        (
            CACHE + "a_hundred_clients_are_one_c_get_and_the_next_one_none",
            "middleware/cache/test_fetch.py::test_whoever_began_it_may_go_and_the_others_finish",
            CACHE + "the_last_client_that_goes_cancels_the_c_get_within_a_second",
        ),
    ),
)

THE_GATEWAY: Final = (
    Row(
        "The cache's disk is full, or fails",
        "Requests are served without it. The log says so once; it is tried again after a minute.",
        (
            CACHE + "a_full_disk_is_done_without_and_said_once",
            SHELF + "a_disk_that_takes_no_more_is_done_without_and_said_once",
            SHELF + "a_disk_that_still_fails_is_said_again_after_the_next_try",
            PARTIAL + "a_disk_that_is_full_is_502",
        ),
    ),
    Row(
        "The process is killed while the cache writes",
        "After the restart nothing partial is served.",
        (
            CACHE + "of_a_process_that_is_killed_amid_a_write_nothing_partial_is_served",
            "middleware/cache/test_store.py::test_files_without_a_row_and_what_was_half_written_are_removed_at_the_start",
        ),
    ),
    Row(
        "SIGTERM under load",
        "``/readyz`` is 503 for ``drain_delay_secs``; then nothing new is taken, and what is under way has "
        "``drain_timeout_secs`` to end. The rest is broken off. systemd calls it a clean stop.",
        (
            STOP + "what_is_under_way_ends_and_nothing_new_is_taken",
            STOP + "what_does_not_end_in_time_is_broken_off",
        ),
    ),
    Row(
        "SIGHUP with a new certificate",
        "New handshakes use it; what is open goes on.",
        (
            "interop/test_dicom_tls.py::test_sighup_brings_new_certificates_and_cuts_nothing",
            "service/test_gateway.py::test_certificates_are_read_again_each_by_itself",
        ),
    ),
    Row(
        "SIGHUP with an invalid configuration",
        "The old one stays, and the log names every error.",
        (
            RELOAD + "a_configuration_that_is_wrong_changes_nothing_and_the_log_says_where",
            RELOAD + "a_port_that_is_taken_changes_nothing",
        ),
    ),
    Row(
        "The collector of the audit trail cannot be reached",
        "Messages wait on the disk in their order, and are delivered later; a gateway that is killed meanwhile loses "
        "none of them.",
        (
            COLLECTOR + "a_collector_that_comes_and_goes_gets_everything_in_order",
            COLLECTOR + "a_gateway_that_is_killed_again_and_again_loses_nothing",
            AUDIT + "of_a_gateway_that_is_killed_every_record_arrives_in_order_when_the_collector_is_back",
        ),
    ),
    Row(
        "Somebody asks too often, or what a policy forbids, or without valid credentials, or calls an unknown title",
        "429, 403, 401, or A-ASSOCIATE-RJ; no archive is asked, and the audit trail has an alert, or the failed login.",
        (
            AUDIT + "who_asks_too_often_is_told_of",
            "interop/test_audit.py::test_who_is_refused",
        ),
    ),
    Row(
        "The audit trail cannot be written: its spool is full",
        "With ``fail_closed`` 503 with Retry-After, or A700H, before an archive is asked; ``/healthz`` is 200. Without "
        "it exchanges go on, and what is lost is counted. The log says so once as it begins, and once as it ends.",
        (
            AUDIT + "with_a_full_spool_nothing_is_asked_or_given_out_until_there_is_room",
            "interop/test_audit.py::test_nothing_is_given_out_that_cannot_be_recorded",
            "audit/test_trail.py::test_what_is_lost_is_logged_once_and_counted",
        ),
    ),
    Row(
        "The server of the keys for JSON Web Tokens is down, or a token names an unknown key",
        "Old keys are used for a grace time. An unknown key is one fetch, then 401.",
        (
            KEYS + "with_the_server_down_old_keys_are_used_for_a_grace_time_and_the_log_says_so_once",
            KEYS + "an_unknown_identifier_with_the_server_down_is_one_fetch_and_no_key",
            KEYS + "an_unknown_identifier_causes_one_fetch_in_a_while",
        ),
    ),
    Row(
        "The wall clock jumps",
        "No timer fires early or late: under twistd the reactor's clock is monotonic.",
        ("test_tap.py::test_a_wall_clock_that_jumps_moves_no_timer",),
    ),
    Row(
        "The process has no descriptor left",
        "503 with Retry-After for what would need one, and nothing is held against the PACS; an association that "
        "comes is dropped. It recovers as soon as there are some.",
        (
            MACHINE + "without_a_descriptor_for_the_pacs_it_is_503_and_no_fault_of_the_pacs",
            MACHINE + "without_a_descriptor_an_association_is_dropped_and_the_next_one_accepted",
            "test_files.py::test_a_lack_of_descriptors_is_not_taken_for_damage",
        ),
    ),
    Row(
        "A decoder crashes or hangs over a frame",
        "Its process is ended, after ``rendering_timeout_secs`` if it hangs, and another one started. That request "
        "is 500, or broken off; others go on.",
        (
            MACHINE + "a_decoder_that_hangs_or_crashes_costs_its_request_and_no_other",
            "rendering/test_worker_processes.py::test_a_process_that_is_killed_costs_one_job",
            "rendering/test_worker_processes.py::test_a_job_that_hangs_is_ended",
        ),
    ),
)

SECTIONS: Final = {
    "The PACS": THE_PACS,
    "The client": THE_CLIENT,
    "The gateway and what it runs on": THE_GATEWAY,
    "Patient safety": SAFETY_RULES,
}

HEAD: Final = """\
.. Written by tests/interop/matrix.py; change the texts there instead.

Faults
======

What may go wrong, and what the gateway does then. Each line is held by tests with a faulty peer on a real socket, or on
a wound clock; after each fault no association, file, timer or descriptor is left, and the next good request works.
The audit trail has told of each exchange as it ended: see :doc:`/audit-messages`.

An HTTP error has a problem document with a ``correlation_id``, which is in the log line of the exchange too. That line
says how it ended (``refused``, ``failed``, ``aborted`` after the first byte, ``client_gone``) and why, and nothing that
identifies a patient.
"""


def page() -> str:
    """Return the page for operators."""
    lines = [HEAD]
    for title, rows in SECTIONS.items():
        lines += [title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", "   :widths: 35 65", ""]
        lines += ["   * - What happens", "     - What the gateway does"]
        for row in rows:
            lines += [_wrapped("   * - ", row.fault), _wrapped("     - ", row.does)]
        lines.append("")
    return "\n".join(lines)


def _wrapped(start: str, text: str) -> str:
    return fill(
        text, 120, initial_indent=start, subsequent_indent=" " * 7, break_on_hyphens=False, break_long_words=False
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
