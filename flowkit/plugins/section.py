"""What a plugin adds to the report of a run: a section, with images. Imports nothing heavy."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Image", "Section"]

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""The first bytes of the formats that every browser shows."""


@dataclass(frozen=True)
class Image:
    """An image in a report: PNG, JPEG, GIF or WebP, read at once.

    Arguments:
        source: The file, or its bytes.
        alt: What it shows, in words, for those who do not see it.

    Raises:
        ValueError: It is no such image, or `alt` is empty.
    """

    source: Path | str | bytes = field(repr=False)
    alt: str
    uri: str = field(init=False, repr=False)
    """The image itself, as a `data:` address."""

    def __post_init__(self) -> None:
        content = self.source if isinstance(self.source, bytes) else Path(self.source).read_bytes()
        kind = next((kind for start, kind in _SIGNATURES.items() if content.startswith(start)), None)
        if kind is None:
            name = "the image" if isinstance(self.source, bytes) else str(self.source)
            raise ValueError(f"{name} is no PNG, JPEG, GIF or WebP")
        if not self.alt.strip():
            raise ValueError("an image needs `alt`, what it shows in words")
        object.__setattr__(self, "uri", f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


@dataclass(frozen=True)
class Section:
    """A section of a report: a heading, then text, HTML and images, whichever are given.

    Arguments:
        title: The heading.
        text: Plain text; an empty line begins a paragraph.
        html: HTML, taken as it is. The page runs no script and fetches nothing, here neither.
        images: Images, one below the other.
    """

    title: str
    text: str = ""
    html: str = ""
    images: tuple[Image, ...] = ()

    def __post_init__(self) -> None:
        if not (self.text or self.html or self.images):
            raise ValueError(f"section {self.title!r} is empty: give text, html or images")

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the text."""
        return [paragraph for paragraph in self.text.split("\n\n") if paragraph.strip()]
