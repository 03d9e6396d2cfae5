"""What a sign can do, whatever its controller is."""

from typing import Protocol

from signs.layout import Page


class Driver(Protocol):
    """Drives one sign. Every method returns only after the sign confirmed it; nothing is retried here."""

    def pages(self, text: str) -> list[Page]:
        """Lay a text out for this sign; nothing is sent.

        Raises:
            NotDrawable: the sign cannot show it. It is never altered to fit.
        """

    async def show(self, page: Page, left: float) -> float | None:
        """Show a page.

        Args:
            page: one of `pages`.
            left: seconds for which it may be shown.

        Returns:
            The seconds after which the sign itself takes it away; None: never.

        Raises:
            SignTooLate: too little is left; the page was not sent.
            SignError: it is not confirmed. What the sign shows is then unknown.
        """

    async def blank(self) -> None:
        """Show nothing.

        Raises:
            SignError: it is not confirmed.
        """

    async def status(self) -> str:
        """Return what the sign says about itself, without changing what it shows.

        Raises:
            SignError: it does not answer, or does not know the question.
        """

    @property
    def lost(self) -> bool:
        """Whether the line broke since this sign's last confirmation, so that the sign may have started anew."""

    async def close(self) -> None:
        """Leave the line; the sign keeps what it shows."""
