"""Drive RGB matrix panels at the GPIO of this Raspberry Pi, through the Python API of hzeller's rpi-rgb-led-matrix.

In: pages of lines. Out: the dots of signs/raster.py on the panels. This process lights the panels row by row, so they
show nothing when it is gone; there is no controller that could confirm or forget.
"""

import asyncio
import importlib
from dataclasses import dataclass
from typing import Any

from PIL import Image

from signs import raster
from signs.errors import SignUnreachable
from signs.layout import Page
from signs.raster import SignProfile

LIBRARY = "rgbmatrix"  # hzeller's module; tests have its emulator
COLOURS = {1: "#ff0000", 2: "#00ff00", 3: "#ffff00", 4: "#0000ff", 5: "#ff00ff", 6: "#00ffff", 7: "#ffffff"}
AMBER = "#ffb000"


@dataclass(frozen=True, slots=True)
class MatrixSettings:
    """The panels; the names are those of the library's options."""

    rows: int = 32  # dots of one panel
    cols: int = 64
    chain_length: int = 1  # panels in a row
    parallel: int = 1  # rows of panels
    hardware_mapping: str = "regular"
    gpio_slowdown: int = 1
    brightness: int | None = None  # percent; None: 100
    led_rgb_sequence: str = "RGB"
    pixel_mapper_config: str = ""
    font: int | None = None  # dots; None: the largest with two lines
    colour: int | None = None  # 1-7 as a DABIT sign has them; None: amber

    @property
    def profile(self) -> SignProfile:
        """The size of all panels together.

        Raises:
            SettingError: no line fits.
        """
        size = f"{self.cols * self.chain_length}x{self.rows * self.parallel}"
        return SignProfile.parse(f"{size}:{self.font}" if self.font else size)


class Matrix:
    """Panels at this machine's GPIO.

    Args:
        settings: how they are wired.
        library: the name of the module with hzeller's API.

    Raises:
        SettingError: no line fits the panels.
    """

    def __init__(self, settings: MatrixSettings, library: str = LIBRARY) -> None:
        self._settings = settings
        self._profile = settings.profile
        self._library = library
        self._panels: Any = None
        self._canvas: Any = None

    def pages(self, text: str) -> list[Page]:
        """Lay a text out in dots.

        Raises:
            NotDrawable: the font lacks a character, or a word is wider than the panels.
        """
        return raster.layout(text, self._profile)

    async def show(self, page: Page, left: float) -> float | None:  # noqa: ARG002 - the gateway's clock ends it
        """Show a page.

        Raises:
            NotDrawable: the font lacks a character.
            SignUnreachable: the library or the panels cannot be used.
        """
        dots = raster.draw(page, self._profile)
        picture = Image.new("RGB", dots.size)
        picture.paste(COLOURS.get(self._settings.colour or 0, AMBER), (0, 0), dots)
        await asyncio.to_thread(self._light, picture)
        return None

    async def blank(self) -> None:
        """Show nothing.

        Raises:
            SignUnreachable: the library or the panels cannot be used.
        """
        await asyncio.to_thread(self._light, Image.new("RGB", (self._profile.width, self._profile.height)))

    async def status(self) -> str:
        """Return the size of the panels.

        Raises:
            SignUnreachable: the library or the panels cannot be used.
        """
        await asyncio.to_thread(self._open)
        return f"{self._profile.width}×{self._profile.height} dots at this machine's GPIO"

    @property
    def lost(self) -> bool:
        """Never: there is no line."""
        return False

    async def close(self) -> None:
        """Let go of the panels."""
        self._panels = self._canvas = None

    def _light(self, picture: Image.Image) -> None:
        """Draw a whole picture, then swap: nobody sees half of one."""
        self._open()
        self._canvas.SetImage(picture)
        self._canvas = self._panels.SwapOnVSync(self._canvas)

    def _open(self) -> None:
        if self._panels is not None:
            return
        try:
            library = importlib.import_module(self._library)
        except ImportError as error:
            raise SignUnreachable(
                f"The module {self._library} is missing: {error}.",
                "Build rpi-rgb-led-matrix with its Python bindings on the Raspberry Pi that drives the panels.",
            ) from error
        options = library.RGBMatrixOptions()
        for name in ("rows", "cols", "chain_length", "parallel", "hardware_mapping", "gpio_slowdown"):
            setattr(options, name, getattr(self._settings, name))
        options.brightness = 100 if self._settings.brightness is None else self._settings.brightness
        options.led_rgb_sequence = self._settings.led_rgb_sequence
        options.pixel_mapper_config = self._settings.pixel_mapper_config
        try:
            self._panels = library.RGBMatrix(options=options)
        except (RuntimeError, OSError, ValueError) as error:
            raise SignUnreachable(f"The panels cannot be used: {error}.", "Run as root; check the options.") from error
        self._canvas = self._panels.CreateFrameCanvas()
