"""Attempts to break the rules of patient safety: what the gateway does, and the tests that hold it to that."""

from typing import Final

from tests.interop.fault_rows import GROWING, MATCHES, MOVE, PARTS, PROXY, RETRIEVE, SAFETY, SEVERAL, VALIDATION, Row

SAFETY_RULES: Final = (
    Row(
        "Two archives have one Study Instance UID for different patients, by PatientID or its issuer",
        "They are never merged: each has its row, which names its archive. A Retrieve that does not name one is 409, "
        "and the log has an alert.",
        (
            SEVERAL + "clashing_identifiers_are_two_rows_and_a_retrieve_names_its_source",
            SEVERAL + "both_patients_are_never_in_one_cache_entry",
            MATCHES + "an_issuer_alone_makes_two_patients",
            MATCHES + "a_conflict_is_told_to_whoever_runs_this_once_and_noted_each_time",
            PARTS + "a_conflict_stays_one_while_the_other_source_is_down",
            RETRIEVE + "a_study_uid_of_several_patients_is_409",
        ),
    ),
    Row(
        "An object is of another study or patient than was asked for",
        "None of its bytes goes out.",
        (
            RETRIEVE + "an_object_that_was_not_asked_for_is_refused_and_the_exchange_fails",
            RETRIEVE + "an_object_of_another_patient_after_the_first_breaks_the_reply_off",
            MOVE + "what_the_move_did_not_ask_for_is_refused",
        ),
    ),
    Row(
        "An object says further on that it is of another study, series or patient than at its beginning",
        "The archive ``storage`` does not file it: A900H.",
        ("backends/storage/test_backend_store.py::test_what_says_further_on_that_it_is_somebody_elses_is_not_filed",),
    ),
    Row(
        "A cached study has another patient, has been merged, or has lost or got instances",
        "The archive is asked before it is served, at most every ``revalidate_secs`` for each user, and what has "
        "changed is purged. A transfer under way ends when the study has only grown, else it breaks off.",
        (
            SAFETY + "what_changed_behind_the_cache_is_served_as_it_is_now",
            SAFETY + "two_studies_that_were_merged_are_404_and_what_they_became",
            VALIDATION + "a_study_that_has_changed_is_purged_and_fetched_anew",
            GROWING + "a_transfer_that_was_begun_ends_though_the_study_has_grown",
            GROWING + "a_transfer_breaks_off_when_the_study_has_changed_otherwise",
        ),
    ),
    Row(
        "A study grows while it is cached",
        "It is not cached as complete.",
        (
            "middleware/cache/test_fetch.py::test_a_growing_study_is_not_cached_as_complete",
            "middleware/cache/test_fetch.py::test_what_a_series_gets_before_it_is_listed_shows_as_a_change_later",
        ),
    ),
    Row(
        "A rejection note arrives (113001, 113037, 113038, 113039, DCM)",
        "What it rejects leaves the cache, in whichever study the note lies.",
        (
            SAFETY + "what_a_note_rejects_is_asked_for_again_and_not_served_from_the_cache",
            "middleware/cache/test_rejection.py::test_what_a_note_rejects_is_purged",
            "middleware/cache/test_rejection.py::test_a_note_in_another_study_counts_too",
            "middleware/cache/test_rejection.py::test_a_series_without_its_instances_is_rejected_whole",
        ),
    ),
    Row(
        "The PACS is down, and the cache has what is asked for",
        "It is served only with ``serve_stale``, and marked: Warning 110.",
        (
            SAFETY + "with_the_pacs_down_what_is_cached_is_served_only_when_that_is_configured",
            VALIDATION + "stale_data_is_not_served_when_the_archive_says_no",
            VALIDATION + "a_study_of_which_a_part_would_be_stale_is_broken_off",
        ),
    ),
    Row(
        "One of several archives does not answer",
        'Warning 299 names it; with ``on_missing_source = "fail"`` the request fails.',
        (
            SEVERAL + "with_one_of_three_silent_the_others_matches_come_when_its_time_is_over",
            SEVERAL + "a_cached_study_says_that_a_source_is_missing",
            MATCHES + "or_the_search_fails_as_configured",
            PARTS + "or_a_source_down_fails_every_retrieve_as_configured",
        ),
    ),
    Row(
        "A transfer is cut short",
        "It never looks whole, in HTTP/1.1 and HTTP/1.0: the connection is reset; there is no last boundary, no last "
        "chunk, no directory of an archive, and not as much as was announced.",
        (
            SAFETY + "a_transfer_that_was_cut_short_never_looks_whole",
            SAFETY + "what_was_announced_and_cut_short_is_shorter_than_announced",
            SEVERAL + "a_second_part_that_breaks_breaks_the_whole",
            "net/http/test_response.py::test_a_body_of_another_length_than_announced_resets",
            "net/http/test_server.py::test_a_body_that_fails_half_way_has_no_clean_end_over_tls_either",
            PROXY + "a_body_that_breaks_off_resets_the_client",
        ),
    ),
    Row(
        "An object is asked for in a lossy transfer syntax, or is lossy already",
        "Nothing lossy is made of it: 406. What it says of its compression, (0028,2110) to (0028,2114), stays.",
        (
            SAFETY + "nothing_lossy_is_made_of_an_object",
            SAFETY + "what_is_said_of_a_lossy_compression_stays",
            "middleware/dicomweb_bridge/test_part10_files.py::test_what_is_said_of_a_lossy_compression_stays",
        ),
    ),
    Row(
        "Pixels are decoded",
        "Photometric Interpretation says what they are then.",
        ("middleware/dicomweb_bridge/test_part10_files.py::test_decoded_colours_are_named_as_they_are",),
    ),
    Row(
        "Text cannot be decoded in its character set",
        "It is shown with U+FFFD, and its bytes stay as they are. A Store does not take U+FFFD for a value.",
        (
            SAFETY + "what_cannot_be_decoded_is_shown_as_that_and_its_bytes_stay",
            "dicom/dataset/test_json_streaming.py::test_what_could_not_be_decoded_is_not_written",
        ),
    ),
    Row(
        "Dates and times are of another time zone than the gateway's",
        "None is shifted.",
        (SAFETY + "no_time_is_shifted_whatever_its_zone",),
    ),
)
