"""The seasons of Korea's calendar."""

from datetime import date
from enum import StrEnum


class Season(StrEnum):
    """A season, named as in the prompt."""

    SPRING = "봄"
    SUMMER = "여름"
    AUTUMN = "가을"
    WINTER = "겨울"

    @classmethod
    def of(cls, day: date) -> "Season":
        """Return the season of a date: spring begins in March."""
        return list(cls)[(day.month - 3) % 12 // 3]
