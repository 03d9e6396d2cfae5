"""The matrix driver on hzeller's API as its emulator has it: the panels show the dots of the raster."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from signs.errors import NotDrawable, SignUnreachable
from signs.matrix import Matrix, MatrixSettings
from signs.raster import render

TEXT = "어제보다 10도 올라 포근합니다. 산책해 보세요."
SETTINGS = MatrixSettings(rows=32, cols=64, chain_length=3, colour=1)


@pytest.fixture
def matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Matrix:
    """A driver on the emulator, which keeps its frames."""
    (tmp_path / "emulator_config.json").write_text(
        json.dumps({"display_adapter": "raw", "pixel_size": 1, "allow_adapter_fallback": False, "log_level": "error"})
    )
    monkeypatch.chdir(tmp_path)
    return Matrix(SETTINGS, "RGBMatrixEmulator")


def last_frame(matrix: Matrix) -> Any:
    return matrix._canvas.display_adapter._last_frame()


def test_the_panels_show_the_dots_of_the_raster(matrix: Matrix) -> None:
    async def work() -> None:
        for page, dots in zip(matrix.pages(TEXT), render(TEXT, SETTINGS.profile), strict=True):
            assert await matrix.show(page, 60) is None
            frame = last_frame(matrix)
            assert frame.shape == (32, 192, 3)
            lit = {(x, y) for y in range(32) for x in range(192) if frame[y, x, 0] > 0}
            assert lit == {(x, y) for y in range(32) for x in range(192) if dots.getpixel((x, y))}
            assert not frame[:, :, 1:].any(), "red"
        await matrix.blank()
        assert not last_frame(matrix).any()
        assert "192×32" in await matrix.status()
        assert not matrix.lost
        await matrix.close()

    asyncio.run(work())


def test_what_the_font_lacks_is_refused(matrix: Matrix) -> None:
    with pytest.raises(NotDrawable):
        matrix.pages("뷁")


def test_without_the_library_the_error_says_what_to_do() -> None:
    with pytest.raises(SignUnreachable, match="rpi-rgb-led-matrix"):
        asyncio.run(Matrix(SETTINGS, "no_such_rgbmatrix").blank())
