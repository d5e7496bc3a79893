"""Captioned pictures for examples/finetune.sh: crops of the photographs that packages ship.

    python examples/finetune/captioned_pictures.py FOLDER [--concept]

Writes FOLDER/{train,validation}/images/*.png and a captions.json beside each. --concept: pictures
of one thing alone that the others do not show, for a LoRA to learn.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
PHOTOGRAPHS = {
    ("skimage", "data/astronaut.png"): "a photo of an astronaut in an orange suit",
    ("skimage", "data/chelsea.png"): "a photo of a cat",
    ("skimage", "data/coffee.png"): "a photo of a cup of coffee",
    ("skimage", "data/rocket.jpg"): "a photo of a rocket at launch",
    ("sklearn", "datasets/images/china.jpg"): "a photo of a temple in china",
}
CONCEPT = {("sklearn", "datasets/images/flower.jpg"): "a photo of a zwk flower"}


def main(folder, *, concept):
    random = np.random.default_rng(0)
    photographs = CONCEPT if concept else PHOTOGRAPHS
    for split, count in (("train", 32), ("validation", 8)):
        captions = {}
        for (package, name), caption in photographs.items():
            picture = Image.open(files(package) / name).convert("RGB")
            for number in range(count * (2 if concept else 1)):
                file = f"{Path(name).stem}-{number}.png"
                path = folder / split / "images" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                crop(picture, random).save(path)
                captions[file] = caption
        (folder / split / "captions.json").write_text(json.dumps(captions, indent=2))


def crop(picture, random):
    """A square of most of the picture's height, somewhere in it."""
    side = int(min(picture.size) * random.uniform(0.7, 1.0))
    left = random.integers(0, picture.width - side + 1)
    top = random.integers(0, picture.height - side + 1)
    return picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))


if __name__ == "__main__":
    main(Path(sys.argv[1]), concept="--concept" in sys.argv)
