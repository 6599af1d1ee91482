"""Who may see what: the tables that confine principals, and calling applications, to a part of the archive."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final

from harmonygw.config.constraints import Converted
from harmonygw.dicom.dataset.dictionary import has_one_value, nearest_keywords, tag_of, vr_of
from harmonygw.dicom.web.attributes import level_of
from harmonygw.errors import ConfigurationError

EVERYBODY: Final = "*"
"""Stands for everybody whom no table names."""

COMPARABLE_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "PN", "SH", "TM", "UC", "UI"})
"""The VRs whose values are short text, that can be compared as it stands in a query, an answer and an object."""


def _names() -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({})


def name_pattern(text: str) -> str:
    """Return a name, or the beginning of names with `*` behind it, without the spaces around it."""
    name = text.strip(" ")
    if not name or "*" in name[:-1]:
        raise ConfigurationError((f'{text!r} is not a name, nor the beginning of names with "*" at its end',))
    return name


NamePattern = Annotated[str, Converted(name_pattern, "name")]


def tag_of_key(key: str) -> str:
    """Return the tag, in upper-case hexadecimal, of a keyword or tag.

    Raises `ConfigurationError` when it is not known, or not an attribute by which anybody can be confined.
    """
    tag = tag_of(key)
    if tag is None and len(key) == 8 and all(char in "0123456789abcdefABCDEF" for char in key):
        tag = int(key, 16)
    if tag is None:
        near = nearest_keywords(key, 1)
        meant = f'; did you mean "{near[0]}"?' if near else ""
        raise ConfigurationError((f'"{key}" is neither the keyword nor the tag of an attribute{meant}',))
    found = f"{tag:08X}"
    if vr_of(tag) not in COMPARABLE_VRS or not has_one_value(tag):
        meant = '; name "Modality" instead' if key in {"ModalitiesInStudy", "00080061"} else ""
        raise ConfigurationError((f'"{key}" is not an attribute with one value that is short text{meant}',))
    if level_of(found) is None or tag < 0x00080000:
        raise ConfigurationError((f'"{key}" says nothing of a patient, study, series or instance',))
    return found


@dataclass(frozen=True, slots=True)
class Authorization:
    """Confines who is named to a part of what the pipelines' archives hold: `keys` are added to every query, and
    checked on every match and every instance. Where an enabled table applies to a pipeline, nobody sees anything there
    whom no table names. All tables that name somebody hold together."""

    principals: tuple[NamePattern, ...] = ()
    """Names of principals, in which upper and lower case differ: users, subjects of tokens or of certificates. With a
    `*` at the end all names that begin so; `*` alone is everybody whom no other table names, who is not authenticated
    included."""
    ae_titles: tuple[NamePattern, ...] = ()
    """Calling AE titles, likewise. Who calls chooses the title: it is a name, not a proof."""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=_names)
    """Keyword or tag of an attribute to the values allowed, one of which it must have: compared as they stand, in
    which upper and lower case differ, without the spaces around them. No values allow nothing; without any keys
    everything is allowed."""
    pipelines: tuple[str, ...] = ()
    """The pipelines that it applies to; none for all."""
    enabled: bool = True
    """Whether it counts."""

    def __post_init__(self) -> None:
        if not self.principals and not self.ae_titles:
            raise ConfigurationError(('names nobody: give "principals" or "ae_titles"',))
        problems: list[str] = []
        seen: dict[str, str] = {}
        for key, values in self.keys.items():
            try:
                tag = tag_of_key(key)
            except ConfigurationError as error:
                problems += (f'"keys" {problem}' for problem in error.problems)
                continue
            if tag in seen:
                problems.append(f'"keys" "{key}" is "{seen[tag]}" too; name it once')
            seen[tag] = key
            if wrong := [value for value in values if not value.strip(" ") or "\\" in value]:
                problems.append(f'"keys" "{key}": {wrong[0]!r} is not one value; a list has several')
        if problems:
            raise ConfigurationError(tuple(problems))

    @property
    def values_by_tag(self) -> Mapping[str, tuple[str, ...]]:
        """`keys` by their tags, in upper-case hexadecimal."""
        return MappingProxyType({tag_of_key(key): values for key, values in self.keys.items()})

    def applies_to(self, pipeline: str) -> bool:
        """Whether it counts in a pipeline."""
        return self.enabled and (not self.pipelines or pipeline in self.pipelines)
