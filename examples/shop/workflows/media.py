"""Pictures for the shop: a sharpened close-up of each photograph, and thumbnails of the close-up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter

from tako_lite import Step, workflow

WIDTHS = (160, 320, 640)


@dataclass(frozen=True)
class Photo:
    """A photograph, and the folder for its pictures; both paths are relative to tako.toml."""

    file: str
    folder: str


@workflow("pictures", worker="media", retries=4, timeout="2m")
async def pictures(photo: Photo, step: Step) -> dict[str, list[str]]:
    # Steps pass paths, not pixels: the return value of each step is stored, and a later attempt starts from it.
    closeup = await step.run("close-up", make_closeup, photo.file, photo.folder)
    thumbnails = [await step.run(f"thumbnail-{width}", make_thumbnail, closeup, width) for width in WIDTHS]
    return {"pictures": [closeup, *thumbnails]}


def make_closeup(file: str, folder: str) -> str:
    """Write the photograph at twice its size, sharpened, and return the path."""
    target = Path(folder) / "close-up.webp"
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(file) as photo:
        larger = photo.resize((photo.width * 2, photo.height * 2), Image.Resampling.LANCZOS)
    larger.filter(ImageFilter.UnsharpMask(radius=2, percent=120)).save(target, quality=85, method=6)
    return str(target)


def make_thumbnail(file: str, width: int) -> str:
    """Write a copy of the picture with that width beside the picture, and return the path."""
    target = Path(file).with_name(f"{width}.webp")
    with Image.open(file) as picture:
        smaller = picture.resize((width, width * picture.height // picture.width), Image.Resampling.LANCZOS)
    smaller.save(target, quality=80, method=6)
    return str(target)
