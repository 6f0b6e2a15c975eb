"""What ``predict`` says about its pictures when all are predicted."""

from segkit.data.depth import Mapped
from segkit.inference.input_files import Picture

_CLIPPED = 0.02  # the share of values outside the levels from which on it is said


class Notes:
    """What is to be said about the pictures when all are predicted."""

    def __init__(self, limit: int | None = None, most_ids: int | None = None) -> None:
        """Nothing is noted yet.

        Args:
            limit: The most instances that the model predicts in a picture; None: there is no limit.
            most_ids: The most instances that an id mask holds; None: none are written.
        """
        self._limit, self._most_ids = limit, most_ids
        self._beyond: list[str] = []
        self._pages: list[tuple[str, int]] = []
        self._full: list[str] = []
        self._clipped: list[tuple[str, float]] = []
        self._stretched: list[str] = []
        self.tiled: list[tuple[str, int]] = []
        self.for_memory: list[tuple[str, str]] = []
        self.in_parts: list[str] = []
        self.shrunk: list[tuple[str, float]] = []
        self.sized: list[tuple[str, str]] = []
        self.not_square: list[str] = []
        self.no_map: list[str] = []
        self.failed: list[str] = []
        self.bad_frames: list[tuple[str, Picture]] = []

    def add(self, others: "Notes") -> None:
        """Add what others say, after what these say."""
        for name, said in vars(others).items():
            if isinstance(said, list):
                getattr(self, name).extend(said)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say."""
        return not any(said for said in vars(self).values() if isinstance(said, list))

    def cannot_be_read(self, picture: Picture, why: str) -> None:
        """A picture cannot be read; frames of a video are said together."""
        if picture.frame is None:
            self.failed.append(why)
        else:
            self.bad_frames.append((why.removeprefix(f"{picture.name}: "), picture))

    @property
    def not_predicted(self) -> int:
        """The number of pictures that could not be read."""
        return len(self.failed) + len(self.bad_frames)

    def errors(self) -> list[str]:
        """A sentence for each picture that could not be read, and one for the frames of a video."""
        frames: dict[tuple[str, str], list[int]] = {}
        for why, picture in self.bad_frames:
            frames.setdefault((picture.file.name, why), []).append(picture.frame or 0)
        of_videos = []
        for (name, why), numbers in frames.items():
            more = f" and {len(numbers) - 1} more of its frames" if len(numbers) > 1 else ""
            of_videos.append(f"{name}: frame {numbers[0]}{more}: {why}")
        return [*self.failed, *of_videos]

    def loaded(self, name: str, pages: int, decoded: Mapped) -> None:
        """A picture was loaded from a file of so many pages."""
        if pages > 1:
            self._pages.append((name, pages))
        if decoded.clipped > _CLIPPED:
            self._clipped.append((name, decoded.clipped))
        if decoded.by_itself:
            self._stretched.append(name)

    def predicted(self, name: str, instances: int) -> None:
        """So many instances of a picture are kept."""
        if instances == self._limit:
            self._full.append(name)
        if self._most_ids is not None and instances > self._most_ids:
            self._beyond.append(name)

    def warnings(self) -> list[str]:
        """A sentence for each kind of note, however many pictures it is about."""
        out = []
        if self._pages:
            name, pages = self._pages[0]
            out.append(f"{name}: page 1 of {pages} is used{_and_more(len(self._pages))}")
        if self._full:
            out.append(
                f"{self._full[0]}: reaches the model's limit of {self._limit} instances, there may be "
                f"more{_and_more(len(self._full))}"
            )
        if self._beyond:
            out.append(
                f"{self._beyond[0]}: has more than the {self._most_ids} instances that an id mask holds; those of the "
                f"lowest scores are not in it{_and_more(len(self._beyond))}"
            )
        if self._clipped:
            name, share = self._clipped[0]
            out.append(
                f"{name}: {share:.0%} of its values lie outside those that the model learnt from, and become black "
                f"or white{_and_more(len(self._clipped))}"
            )
        if self._stretched:
            out.append(
                f"{self._stretched[0]}: has more than 8 bits, for which the model has no mapping: stretched by itself"
                f"{_and_more(len(self._stretched))}"
            )
        if self.shrunk:
            name, times = self.shrunk[0]
            out.append(
                f"{name}: is made {times:.0f} times smaller for the model, so that small instances may be lost: "
                f"--tile auto predicts it in parts{_and_more(len(self.shrunk))}"
            )
        if self.tiled:
            name, side = self.tiled[0]
            out.append(f"{name}: predicted in tiles of {side} pixels{_and_more(len(self.tiled))}")
        if self.for_memory:
            name, why = self.for_memory[0]
            out.append(f"{name}: tiles are as small as memory asks for: {why}{_and_more(len(self.for_memory))}")
        if self.in_parts:
            out.append(
                f"{self.in_parts[0]}: read in parts, as it is large: it has no overlay, crops and intensities"
                f"{_and_more(len(self.in_parts))}"
            )
        if self.sized:
            name, size = self.sized[0]
            sizes = f"{len({size for _, size in self.sized})} sizes"
            how = f"a pixel is {size}, as the file says" if sizes == "1 sizes" else f"the first is {size}"
            out.append(f"{name}: {how}{_and_more(len(self.sized))}")
        if self.not_square:
            out.append(f"{self.not_square[0]}: measured in pixels only{_and_more(len(self.not_square))}")
        if self.no_map:
            out.append(
                f"{self.no_map[0]}: has no map coordinates: its GeoJSON is in pixels, as QuPath reads it"
                f"{_and_more(len(self.no_map))}"
            )
        return out


def _and_more(count: int) -> str:
    return f" (and {count - 1} more such pictures)" if count > 2 else " (and one more)" if count == 2 else ""
