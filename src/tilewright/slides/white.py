"""Which value of a pixel is white: cameras store 10, 12 or 14 bits in numbers of 16."""

from dataclasses import dataclass
from pathlib import Path

from tilewright.runtime.errors import Problem, SlideError


@dataclass(frozen=True)
class White:
    """What is known of the value of white before a file's pixels are opened.

    Attributes:
        given: by the sheet; counts before all else.
        tagged: by texts of the file, for pixels of 16 bits.
    """

    given: int | None = None
    tagged: int | None = None

    def of(self, path: Path, bits: int, used: int) -> tuple[int, bool]:
        """The value of white, and whether it is known.

        Args:
            path: the file, for messages.
            bits: of its numbers.
            used: how many of them hold something, by its reader.

        Raises:
            SlideError: the sheet's is more than its numbers can hold.
        """
        most = 2**bits - 1
        if self.given is not None and self.given > most:
            what = f"white {self.given} is more than its pixels of {bits} bits can hold."
            raise SlideError(Problem(str(path), what, f"Correct the column white, to at most {most}."))
        if self.given is not None:
            return self.given, True
        if bits == 16 and used == bits and self.tagged and self.tagged < most:
            return self.tagged, True
        return 2**used - 1, bits == 8 or used < bits


NO_WHITE = White()
