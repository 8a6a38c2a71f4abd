"""Every page of the admin on sheets to look at, light and dark, narrow and wide:

python -m tests.acceptance.contact_sheets FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from tests.acceptance.admin_pages import furnish, sign_in, walk
from tests.acceptance.studio import studio

WIDTHS = {390: 1000, 1440: 1000}
#: Pixels of the width of a picture on a sheet; pictures of a row, and rows of a sheet.
SMALL = {390: 300, 1440: 620}
ACROSS = {390: 6, 1440: 3}
DOWN = {390: 2, 1440: 3}


def main(folder: Path) -> None:
    """Takes them all."""
    folder.mkdir(parents=True, exist_ok=True)
    with studio() as (site, server, browser):
        furnish(site)
        for theme in ("light", "dark"):
            for width, height in WIDTHS.items():
                size = {"width": width, "height": height}
                page = browser.new_context(viewport=size, color_scheme=theme).new_page()
                sign_in(page, server.origin)
                pictures = []
                for title, _ in walk(page, server.origin, site):
                    page.wait_for_load_state("networkidle")
                    shot = folder / "shot.png"
                    page.screenshot(path=str(shot), animations="disabled", full_page=True)
                    with Image.open(shot) as picture:
                        pictures.append((title, small(picture.convert("RGB"), width)))
                sheets(folder, f"{theme}-{width}", pictures, width)


def small(picture: Image.Image, width: int) -> Image.Image:
    """The beginning of a page, as it is on a sheet."""
    beginning = picture.crop((0, 0, picture.width, min(picture.height, WIDTHS[width] * 2)))
    return beginning.resize((SMALL[width], beginning.height * SMALL[width] // beginning.width))


def sheets(folder: Path, name: str, pictures: list[tuple[str, Image.Image]], width: int) -> None:
    """As many as it takes."""
    across, down = ACROSS[width], DOWN[width]
    cell = SMALL[width] * WIDTHS[width] * 2 // width + 20
    for at in range(0, len(pictures), across * down):
        some = pictures[at : at + across * down]
        tall = max(picture.height for _, picture in some) + 20
        tall = min(cell, tall)
        sheet = Image.new("RGB", (across * (SMALL[width] + 8), down * (tall + 8)), "#888888")
        draw = ImageDraw.Draw(sheet)
        for number, (title, picture) in enumerate(some):
            x, y = number % across * (SMALL[width] + 8), number // across * (tall + 8)
            draw.text((x + 4, y + 3), title, fill="#ffffff")
            sheet.paste(picture.crop((0, 0, picture.width, tall - 20)), (x, y + 20))
        sheet.save(folder / f"{name}-{at // (across * down) + 1:02}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
