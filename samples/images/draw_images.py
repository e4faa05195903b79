"""Draws the sample images of this folder.

The scenes come from ../model/train/scenes.py (needs the sprite folder: --sprites); the others share
nothing with it: they are drawn here with plain outlines, other proportions and other fonts.
  draw_images.py --sprites FOLDER     writes every image beside this file
"""
import argparse
import os
import sys

from PIL import Image, ImageDraw, ImageFont

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "model", "train"))
EXIF_ORIENTATION = 0x0112
TURNED_LEFT = 6             # the camera was turned: shown right after a quarter turn clockwise
MONO = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf"


def scene(scenes, sprites, layout, size, seed):
    return scenes.draw(scenes.generator("sample image", seed), size, sprites, layout).image


def draw_scenes(folder):
    import scenes   # only here: what is drawn otherwise needs no sprites
    sprites = scenes.Sprites(folder)
    scene(scenes, sprites, "plain", 256, 21).save(f"{HERE}/kites.png")
    scene(scenes, sprites, "many", 256, 54).save(f"{HERE}/many.png")
    scene(scenes, sprites, "signs", 256, 31).save(f"{HERE}/signs.png")
    scene(scenes, sprites, "page", 256, 4).convert("L").save(f"{HERE}/page-gray.png")
    wide = scene(scenes, sprites, "plain", 640, 7).resize((640, 480), Image.LANCZOS)
    wide.save(f"{HERE}/wide.jpg", quality=90)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURNED_LEFT
    turned = scene(scenes, sprites, "plain", 640, 12).resize((300, 400), Image.LANCZOS)
    turned.transpose(Image.ROTATE_90).save(f"{HERE}/turned.jpg", quality=90, exif=exif)


def draw_shapes():
    """Three shapes with dark outlines on white, 500 x 333."""
    image = Image.new("RGB", (1000, 666), (255, 255, 255))
    pen, ink = ImageDraw.Draw(image), (30, 30, 30)
    pen.ellipse((80, 90, 340, 350), fill=(220, 50, 47), outline=ink, width=8)
    pen.polygon([(520, 120), (400, 380), (640, 380)], fill=(60, 160, 80), outline=ink)
    pen.line([(520, 120), (400, 380), (640, 380), (520, 120)], fill=ink, width=8, joint="curve")
    pen.rectangle((700, 330, 930, 560), fill=(38, 100, 210), outline=ink, width=8)
    image.resize((500, 333), Image.LANCZOS).save(f"{HERE}/shapes.png")


def draw_circles():
    """Five yellow circles on a transparent ground, 320 x 320."""
    image = Image.new("RGBA", (640, 640), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    for x, y, radius in ((130, 120, 70), (420, 140, 90), (320, 330, 60), (150, 500, 85),
                         (500, 480, 75)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(245, 205, 40, 255))
    image.resize((320, 320), Image.LANCZOS).save(f"{HERE}/circles-alpha.png")


def draw_ticket():
    """A ticket in a monospaced font, 384 x 288."""
    image = Image.new("RGB", (384, 288), (252, 248, 236))
    pen, face = ImageDraw.Draw(image), ImageFont.truetype(MONO, 34)
    pen.rectangle((6, 6, 377, 281), outline=(120, 120, 120), width=2)
    for i, text in enumerate(("TAXI   4072", "BUS    118", "PARK   95")):
        pen.text((48, 60 + i * 66), text, font=face, fill=(20, 20, 40))
    image.save(f"{HERE}/ticket.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sprites", default=os.environ.get("SPRITES"))
    options = parser.parse_args()
    if not options.sprites:
        parser.error("no sprites: --sprites FOLDER or SPRITES=FOLDER")
    draw_scenes(options.sprites)
    draw_shapes()
    draw_circles()
    draw_ticket()


if __name__ == "__main__":
    main()
