"""What a fact is: a figure that never travels without its unit, its source and its date."""

from dataclasses import dataclass

SURE = ("maker", "reported", "computed")  # said by the maker, by somebody else, or worked out from other figures


@dataclass(frozen=True)
class Fact:
    """One figure the course states.

    `source` is a public page or file, `as_of` the ISO date at which it was read, `note` what a maintainer must know.
    """

    value: int | float | str
    unit: str
    source: str
    as_of: str
    sure: str
    note: str = ""
