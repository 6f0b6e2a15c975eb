"""Windows of TIFF files that are too large to be decoded whole, as RGB of 8 bits."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.data.depth import Levels, to_bytes
from segkit.data.pictures import ORIENTATION
from segkit.errors import InputError

Pixels = npt.NDArray[np.uint8]
_KEPT = 1 << 27  # bytes of decoded parts that are kept for the next window
_COLOURS = {"MINISBLACK": (1,), "RGB": (3, 4), "YCBCR": (3,)}


class TiffWindows:
    """Reads windows of a page of a TIFF or BigTIFF, in tiles, strips or uncompressed; memory follows them.

    Attributes:
        height: Of the page.
        width: Likewise.
    """

    def __init__(self, path: Path, levels: Levels | None, page: int = 1) -> None:
        """Open a file, and decode a part of it to see whether that can be done.

        Args:
            path: The file.
            levels: What values of more than 8 bits become.
            page: Of the file, from 1.

        Raises:
            InputError: It is no TIFF file, or one that cannot be read in parts.
        """
        import tifffile  # noqa: PLC0415 -- few predictions need it

        self._path, self._levels = path, levels
        try:
            self._file = tifffile.TiffFile(path)
        except (tifffile.TiffFileError, OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read in parts: {error}") from error
        try:
            self._page: Any = self._file.pages[page - 1]
            self._check()
            self.height, self.width = (int(side) for side in self._page.shape[:2])
            self._segments: OrderedDict[int, npt.NDArray[Any] | None] = OrderedDict()
            self._size = 0
            self._mapped = self._memory_map()
            self.window(0, 0, 1, 1)
        except InputError:
            self._file.close()
            raise
        except Exception as error:  # a codec that is missing, or any of tifffile's
            self._file.close()
            raise InputError(
                f"{path}: cannot be read in parts: {error}", 'pip install "segkit[imagecodecs]"'
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._segments.clear()
        self._mapped = None
        self._file.close()

    def _check(self) -> None:
        page = self._page
        kind = page.dtype.kind if page.dtype is not None else "?"
        deep = page.dtype is not None and page.dtype.itemsize > 1
        tag = page.tags.get(ORIENTATION)
        wrong = None
        if page.samplesperpixel not in _COLOURS.get(page.photometric.name, ()) or page.ndim not in (2, 3):
            wrong = f"colours of the kind {page.photometric.name}"
        elif page.photometric.name == "YCBCR" and page.compression.name != "JPEG":  # a JPEG's decoder makes RGB of it
            wrong = "colours of the kind YCBCR"
        elif page.samplesperpixel > 1 and page.planarconfig.name != "CONTIG":
            wrong = "its channels are stored one after the other"
        elif tag is not None and tag.value != 1:
            wrong = "it is turned by its orientation tag"
        elif kind not in "uf" or (deep and (self._levels is None or self._levels.of(np.zeros(1, page.dtype)) is None)):
            wrong = f"values of the type {page.dtype}, for which the model has no mapping"
        if wrong is not None:
            raise InputError(f"{self._path}: cannot be read in parts: {wrong}", "save it as plain RGB or grey")

    def window(self, top: int, left: int, height: int, width: int) -> Pixels:
        """Decode a window inside the page to RGB [height, width, 3].

        Raises:
            InputError: A part of the file is broken.
        """
        page = self._page
        if self._mapped is not None:
            return self._as_rgb(np.array(self._mapped[top : top + height, left : left + width]))
        tall = int(page.tilelength if page.is_tiled else page.rowsperstrip)
        wide = int(page.tilewidth if page.is_tiled else self.width)
        tall = min(tall, self.height)
        across = -(-self.width // wide)
        out = np.zeros((height, width, int(page.samplesperpixel)), page.dtype)
        for row in range(top // tall, (top + height - 1) // tall + 1):
            for column in range(left // wide, (left + width - 1) // wide + 1):
                part = self._segment(row * across + column)
                if part is None:  # a part that is not stored is empty
                    continue
                y, x = row * tall, column * wide
                y0, x0 = max(y, top), max(x, left)
                y1, x1 = min(y + part.shape[0], top + height), min(x + part.shape[1], left + width)
                out[y0 - top : y1 - top, x0 - left : x1 - left] = part[y0 - y : y1 - y, x0 - x : x1 - x]
        return self._as_rgb(out)

    def _memory_map(self) -> npt.NDArray[Any] | None:
        """The values of a file that is not compressed, [H, W, samples], of which only what is used is read."""
        page = self._page
        if not page.is_memmappable:
            return None
        shape = (self.height, self.width, int(page.samplesperpixel))
        kind = page.dtype.newbyteorder(self._file.byteorder)
        return np.memmap(self._path, kind, "r", page.dataoffsets[0], shape)

    def _segment(self, number: int) -> npt.NDArray[Any] | None:
        """A decoded tile or strip, [h, w, samples]; the last ones used are kept."""
        if number in self._segments:
            self._segments.move_to_end(number)
            return self._segments[number]
        page = self._page
        offset, count = page.dataoffsets[number], page.databytecounts[number]
        part = None
        if count:
            self._file.filehandle.seek(offset)
            data = self._file.filehandle.read(count)
            try:
                decoded, _, shape = page.decode(data, number, jpegtables=page.jpegtables)
            except InputError:
                raise
            except Exception as error:
                why = f"{self._path}: a part of it cannot be decoded: {error}"
                raise InputError(why, "open it in a viewer; replace or remove it") from error
            if decoded is not None:
                part = decoded.reshape(decoded.shape[-3:])[: shape[-3], : shape[-2]]
        self._segments[number] = part
        self._size += part.nbytes if part is not None else 0
        while self._size > _KEPT and len(self._segments) > 1:
            _, old = self._segments.popitem(last=False)
            self._size -= old.nbytes if old is not None else 0
        return part

    def _as_rgb(self, values: npt.NDArray[Any]) -> Pixels:
        values = values[..., :3] if values.shape[2] > 1 else values[..., 0]
        if values.dtype != np.uint8:
            return to_bytes(values, self._levels).pixels
        return np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else np.ascontiguousarray(values)
