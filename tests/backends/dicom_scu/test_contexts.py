import pytest

from harmonygw.backends.dicom_scu.contexts import (
    COMMON_CLASSES,
    LOSSLESS,
    LOSSY,
    MAX_CONTEXTS,
    NATIVE,
    STORAGE_CLASSES,
    VIDEO,
    first_choice,
    later_choices,
    likely_classes,
    propose,
    rounds,
)

EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED = NATIVE
JPEG_LOSSLESS, J2K_LOSSLESS = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"
JPEG, J2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


@pytest.mark.parametrize(
    ("acceptable", "first"),
    [
        (("*",), (*NATIVE, *LOSSLESS)),
        ((EXPLICIT,), NATIVE),
        ((EXPLICIT, JPEG), NATIVE),
        ((DEFLATED,), (DEFLATED, EXPLICIT, IMPLICIT, BIG_ENDIAN)),
        ((J2K_LOSSLESS,), (J2K_LOSSLESS,)),
        ((J2K_LOSSLESS, EXPLICIT), (J2K_LOSSLESS, *NATIVE)),
        ((JPEG,), ()),
    ],
)
def test_the_first_association_proposes_native_and_lossless_syntaxes(
    acceptable: tuple[str, ...], first: tuple[str, ...]
) -> None:
    assert first_choice(acceptable) == first


@pytest.mark.parametrize(
    ("acceptable", "first"),
    [
        (("*",), (*NATIVE, *LOSSLESS, *LOSSY, *VIDEO)),
        ((J2K, EXPLICIT, JPEG), (*NATIVE, JPEG, J2K)),
        ((JPEG,), (JPEG,)),
        ((EXPLICIT,), NATIVE),
    ],
)
def test_acceptable_lossy_ones_come_last_when_they_are_proposed_with_the_others(
    acceptable: tuple[str, ...], first: tuple[str, ...]
) -> None:
    assert first_choice(acceptable, with_lossy=True) == first


def test_what_was_left_out_is_asked_for_lossless_then_lossy_then_each_alone() -> None:
    every = (*LOSSLESS, *LOSSY, *VIDEO)
    assert later_choices(("*",)) == (LOSSLESS, (*LOSSY, *VIDEO), *((uid,) for uid in every))


@pytest.mark.parametrize(
    ("acceptable", "later"),
    [
        ((EXPLICIT,), ()),
        ((EXPLICIT, J2K_LOSSLESS), ((J2K_LOSSLESS,),)),
        ((J2K_LOSSLESS, JPEG_LOSSLESS), ((J2K_LOSSLESS, JPEG_LOSSLESS), (J2K_LOSSLESS,), (JPEG_LOSSLESS,))),
        ((J2K, JPEG), ((JPEG, J2K), (JPEG,), (J2K,))),
        ((EXPLICIT, JPEG), ((JPEG,),)),
    ],
)
def test_no_syntax_is_asked_for_later_that_is_not_acceptable(
    acceptable: tuple[str, ...], later: tuple[tuple[str, ...], ...]
) -> None:
    assert later_choices(acceptable) == later


@pytest.mark.parametrize(
    ("acceptable", "choices"),
    [
        ((EXPLICIT, J2K_LOSSLESS), [(EXPLICIT, J2K_LOSSLESS, IMPLICIT, BIG_ENDIAN, DEFLATED), (J2K_LOSSLESS,)]),
        ((EXPLICIT,), [NATIVE]),
        ((J2K_LOSSLESS,), [(J2K_LOSSLESS,)]),
        ((J2K_LOSSLESS, JPEG), [(J2K_LOSSLESS,), (JPEG,)]),
        ((JPEG,), [(JPEG,)]),
    ],
)
def test_rounds_for_known_classes_begin_as_the_first_association(
    acceptable: tuple[str, ...], choices: list[tuple[str, ...]]
) -> None:
    assert list(rounds((CT, MR), "CT", acceptable)) == [((CT, MR), choice) for choice in choices]


def test_rounds_for_unknown_classes_begin_with_the_modalitys_and_end_with_all_others() -> None:
    likely = likely_classes(("MR",))
    first, lossless, *others = rounds((), "MR", (EXPLICIT, J2K_LOSSLESS))
    assert first == (likely, (EXPLICIT, IMPLICIT))
    assert lossless == (likely, (J2K_LOSSLESS,))
    assert {syntaxes for _, syntaxes in others} == {(EXPLICIT, IMPLICIT)}
    assert [uid for classes, _ in others for uid in classes] == [uid for uid in STORAGE_CLASSES if uid not in likely]
    assert all(len(propose(classes, syntaxes, taken=1)) == 2 * len(classes) for classes, syntaxes in others)


def test_rounds_without_native_syntaxes_do_not_try_every_class() -> None:
    assert list(rounds((), "MR", (J2K_LOSSLESS,))) == [(likely_classes(("MR",)), (J2K_LOSSLESS,))]


def test_likely_classes_are_the_modalitys_then_what_any_study_may_hold() -> None:
    assert likely_classes(("CT",))[0] == CT
    assert likely_classes(("CT", "MR"))[:4] == (*likely_classes(("CT",))[:3], MR)
    assert likely_classes(("CT",))[-len(COMMON_CLASSES) :] == COMMON_CLASSES


@pytest.mark.parametrize("modalities", [(), ("",), ("XYZ",)])
def test_a_study_of_unknown_modality_may_hold_anything(modalities: tuple[str, ...]) -> None:
    assert set(STORAGE_CLASSES) <= set(likely_classes(modalities))
    assert likely_classes(modalities)[: len(COMMON_CLASSES)] == COMMON_CLASSES


def test_one_context_takes_one_syntax_and_asks_for_the_role_of_an_scp() -> None:
    one, two, three, four = propose((CT, MR), (EXPLICIT, J2K_LOSSLESS), taken=1)
    assert [(c.context_id, c.abstract_syntax, c.transfer_syntaxes) for c in (one, two, three, four)] == [
        (3, CT, (EXPLICIT,)),
        (5, CT, (J2K_LOSSLESS,)),
        (7, MR, (EXPLICIT,)),
        (9, MR, (J2K_LOSSLESS,)),
    ]
    assert {(c.scu_role, c.scp_role) for c in (one, two, three, four)} == {(False, True)}


def test_128_contexts_all_fit_and_one_more_does_not() -> None:
    classes = tuple(f"1.2.{number}" for number in range(127))
    assert len(propose(classes, (EXPLICIT,), taken=1)) == 127
    assert propose(classes, (EXPLICIT,), taken=1)[-1].context_id == 255
    assert len(propose((*classes, "1.3"), (EXPLICIT,), taken=1)) == 127
    assert len(propose((*classes, "1.3"), (EXPLICIT,))) == MAX_CONTEXTS


def test_when_not_all_fit_every_class_gets_its_first_syntax_and_the_first_classes_more() -> None:
    classes = tuple(f"1.2.{number}" for number in range(100))
    proposed = propose(classes, (EXPLICIT, IMPLICIT, J2K_LOSSLESS), taken=1)
    assert [c.abstract_syntax for c in proposed if c.transfer_syntaxes == (EXPLICIT,)] == list(classes)
    assert [c.abstract_syntax for c in proposed if c.transfer_syntaxes == (IMPLICIT,)] == list(classes[:14])
    assert [c.abstract_syntax for c in proposed if c.transfer_syntaxes == (J2K_LOSSLESS,)] == list(classes[:13])
    assert [c.context_id for c in proposed] == list(range(3, 256, 2))
