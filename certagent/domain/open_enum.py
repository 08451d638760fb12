"""Enumerations of which a newer program may know more: what is not known is kept as it is. Pure."""

from enum import StrEnum
from typing import Self

_LONGEST = 64


class OpenEnum(StrEnum):
    """One whose other values are members, too, while they last: equal by value, and never listed."""

    @property
    def is_known(self) -> bool:
        """Whether it is one of ours."""
        return self.value in type(self).__members__.values()

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member
