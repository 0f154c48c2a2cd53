"""What people wear: garments, hair and shoes as layers over the body, chosen at random.

A garment is a region of the body's surface that the shader pushes outward along the normals and paints. Regions are
given in coordinates that are the same for all bodies (`surface_coordinates`), so the body's shape doesn't matter.
"""

from dataclasses import dataclass

import numpy as np

from training.synthesis.bodies import BodyModel


def surface_coordinates(body: BodyModel) -> np.ndarray:
    """Coordinates of the body's vertices in which garments are described.

    Returns:
        float32 [V, 7]: x, y, z of the template (metres); position along the arm (0 trunk, 1 elbow, 2 wrist, 3
        finger tips); position downward (-1 neck, 0 hip, 1 knee, 2 ankle); 1 on the head, 1 on the eyeballs.
    """
    template, names = body.template, body.bone_names
    heads = {name: body.template_heads[i] for i, name in enumerate(names)}
    dominant = [names[i] for i in body.dominant_bone]
    arm = np.zeros(len(template))
    on_arm = np.zeros(len(template), bool)
    for s in "LR":
        bones = [heads[f"{b}.{s}"] for b in ("upperarm01", "lowerarm01", "wrist")]
        bones.append(2 * heads[f"finger3-3.{s}"] - heads[f"finger3-2.{s}"])
        groups = (("upperarm",), ("lowerarm",), ("wrist", "finger", "metacarpal"))
        for i, group in enumerate(groups):
            chosen = np.array([n.endswith("." + s) and n.startswith(group) for n in dominant])
            axis = bones[i + 1] - bones[i]
            share = (template[chosen] - bones[i]) @ axis / (axis @ axis)
            arm[chosen] = i + np.clip(share, 0.02, 1)
            on_arm |= chosen
    z = template[:, 2]
    neck, hip, knee, ankle = landmarks(body)
    down = np.interp(-z, [-neck - 1, -neck, -hip, -knee, -ankle, -ankle + 0.1], [-4, -1, 0, 1, 2, 3])
    down = np.where(on_arm, -0.85, down)
    at_head = np.array([not on_arm[i] and z[i] > heads["neck03"][2] for i in range(len(z))])
    eyes = np.array([n.startswith("eye.") for n in dominant])
    return np.concatenate([template, np.stack([arm, down, at_head, eyes], 1)], 1).astype(np.float32)


def landmarks(body: BodyModel) -> tuple[float, ...]:
    """Heights of neck, hip, knee and ankle in the template, metres: where the downward coordinate is -1, 0, 1, 2."""
    return tuple(float(body.template_heads[body.bone_index[b]][2]) for b in _LANDMARKS)


_LANDMARKS = ("neck01", "upperleg01.L", "lowerleg01.L", "foot.L")


@dataclass
class Outfit:
    """One person's look.

    Attributes:
        look: what the body's shaders need, named as in `renderer._LOOK`.
        long_hair: 0 for short hair, up to 1 for hair down to the waist.
        skirt_hem: where a skirt, dress or coat ends, downward coordinate, or None.
        skirt_flare: metres by which it widens.
        skirt_colours: of it and of its pattern.
    """

    look: dict[str, object]
    long_hair: float
    skirt_hem: float | None
    skirt_flare: float
    skirt_colours: tuple[np.ndarray, np.ndarray]


def random_colour(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A random RGB colour, float [3] in 0..1, of "cloth", "skin" or "hair"."""
    if kind == "skin":
        # Between dark brown, brown, olive, tan and pale, with a little noise in redness.
        tones = np.array([[0.24, 0.14, 0.1], [0.4, 0.25, 0.18], [0.6, 0.41, 0.3], [0.78, 0.57, 0.45], [0.9, 0.71, 0.6]])
        t = rng.uniform(0, len(tones) - 1)
        i = min(int(t), len(tones) - 2)
        return np.clip((tones[i] * (i + 1 - t) + tones[i + 1] * (t - i)) * rng.normal(1, 0.04, 3), 0.05, 1)
    if kind == "hair":
        tones = np.array([[0.05, 0.04, 0.04], [0.16, 0.1, 0.07], [0.33, 0.22, 0.13], [0.62, 0.48, 0.3], [0.6, 0.6, 0.6],
                          [0.45, 0.2, 0.1]])  # fmt: skip
        return np.clip(tones[rng.choice(6, p=[0.36, 0.27, 0.14, 0.1, 0.09, 0.04])] * rng.uniform(0.7, 1.25), 0.02, 1)
    style = rng.random()
    if style < 0.45:  # grey, black, white, with a tint
        value = rng.choice([rng.uniform(0.03, 0.2), rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.95)], p=[0.45, 0.3, 0.25])
        return np.clip(value * rng.normal(1, 0.05, 3), 0.01, 1)
    if style < 0.6:  # denim and navy
        return np.array([0.15, 0.22, 0.38]) * rng.uniform(0.35, 1.7)
    if style < 0.7:  # khaki and brown
        return np.array([0.5, 0.4, 0.28]) * rng.uniform(0.4, 1.5)
    hue, saturation, value = rng.random() * 6, rng.uniform(0.2, 0.85), rng.uniform(0.15, 0.85)
    ramp = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - ramp))


def _pick(rng: np.random.Generator, shares: dict):
    """One of the keys, drawn by their shares."""
    keys, weights = list(shares), np.array(list(shares.values()))
    return keys[rng.choice(len(keys), p=weights / weights.sum())]


def _pattern(rng: np.random.Generator, plain: float) -> tuple[float, float]:
    """Pattern number (0 plain, 1 rings, 2 stripes, 3 checks, 4 blotches, 5 dots, 6 print) and its repeats a metre."""
    if rng.random() < plain:
        return 0.0, 1.0
    return float(rng.integers(1, 7)), float(np.exp(rng.uniform(np.log(8), np.log(45))))


def sample_outfit(rng: np.random.Generator, female: float, age: float) -> Outfit:
    """Random clothes, hair, skin and shoes.

    Args:
        rng: random generator of the scene.
        female: 0 (man) to 1 (woman).
        age: Anny's age axis, 0..1.

    Returns:
        The outfit.
    """
    skin = random_colour(rng, "skin")
    woman = female > 0.5
    sleeve = rng.uniform(*_pick(rng, {(-0.2, 0.05): 0.1, (0.3, 0.85): 0.34, (0.9, 1.5): 0.1, (1.75, 2.0): 0.46}))
    trousers = rng.uniform(*_pick(rng, {(0.15, 0.6): 0.11, (0.7, 1.1): 0.11, (1.3, 1.7): 0.08, (1.85, 2.1): 0.7}))
    hem = float(rng.uniform(*_pick(rng, {(-0.2, -0.08): 0.25, (0.0, 0.25): 0.6, (0.3, 0.7): 0.15})))
    loose = rng.choice([0.0, 1.0])
    suit = rng.random() < 0.12
    shirt, pants = random_colour(rng, "cloth"), random_colour(rng, "cloth")
    if suit or rng.random() < 0.05:
        pants = shirt * rng.uniform(0.9, 1.1)
        sleeve, trousers = rng.uniform(1.85, 2.0), rng.uniform(1.95, 2.1)
    shirt_pattern, pants_pattern = _pattern(rng, 0.5), _pattern(rng, 0.85)
    bare = rng.random() < 0.03 and not woman
    shoes = rng.choice([0, 1, 2, 3], p=[0.08, 0.62, 0.16, 0.14])
    shoe_top = (3.5, 2.05, rng.uniform(1.6, 1.95), 2.25)[shoes]
    long_hair = rng.random() < (0.7 if woman else 0.08)
    bald = rng.random() < (0.01 if woman else 0.14)
    look = {
        "skin": skin,
        "hair": random_colour(rng, "hair") if age < 0.85 or rng.random() < 0.3 else np.full(3, rng.uniform(0.45, 0.85)),
        "shirt_a": shirt,
        "shirt_b": random_colour(rng, "cloth"),
        "pants_a": pants,
        "pants_b": pants * rng.uniform(0.5, 1.5),
        "shoe": random_colour(rng, "cloth"),
        "sole": np.full(3, rng.choice([rng.uniform(0.02, 0.2), rng.uniform(0.6, 0.95)])),
        "inner": random_colour(rng, "cloth"),
        "shirt_pattern": shirt_pattern,
        "pants_pattern": pants_pattern,
        "sleeve": -1.0 if bare else float(sleeve),
        "hem": -5.0 if bare else hem,
        "collar": float(rng.uniform(-1.12, -0.86)),
        "waist": float(rng.uniform(-0.3, -0.1)),
        "trousers": float(trousers),
        "shoe_top": float(shoe_top),
        "shirt_cm": float(rng.uniform(0.5, 1.5) + loose * rng.uniform(0.5, 2.6)),
        "pants_cm": float(rng.uniform(0.4, 1.2) + (rng.random() < 0.65) * rng.uniform(0.5, 2.6)),
        "shoe_cm": float(rng.uniform(0.8, 1.6)) if shoes else 0.0,
        "open": float(rng.uniform(0.02, 0.07)) if suit or rng.random() < 0.15 else 0.0,
        "wrinkle": float(rng.uniform(0.1, 0.6)),
        "hairline": 9.0 if bald else float(rng.uniform(-0.15, 0.2)),
        "hair_cm": 0.0 if bald else float(rng.uniform(0.6, 4.5)),
        "glasses": float(_pick(rng, {0: 0.8, 1: 0.12, 2: 0.08})),
        "beard": float(rng.random() < 0.3) if not woman and age > 0.6 else 0.0,
        "glove": float(rng.random() < 0.03),
        "phase": rng.uniform(0, 6.28, 3),
    }
    skirt_hem, flare, colours = _choose_skirt(rng, look, woman)
    return Outfit(look, rng.uniform(0.1, 1.0) if long_hair and not bald else 0.0, skirt_hem, flare, colours)


def _choose_skirt(rng: np.random.Generator, look: dict, woman: bool) -> tuple[float | None, float, tuple]:
    """Hem (None without a skirt), flare and colours of a skirt, dress or coat; changes the look that goes with it."""
    shirt, pants = look["shirt_a"], look["pants_a"]
    style = rng.random()
    skirt_hem, flare, colours = None, 0.0, (pants, look["pants_b"])
    if woman and style < 0.3:  # skirt or dress, over bare legs or tights
        skirt_hem, flare = float(rng.uniform(0.4, 1.85)), float(rng.uniform(0.0, 0.16))
        look["trousers"] = 0.3 if rng.random() < 0.7 else 2.1
        look["pants_cm"] = 0.1
        if style < 0.15:
            colours = (shirt, look["shirt_b"])
            look["hem"] = 0.1
    elif style > 0.88:  # coat
        skirt_hem, flare, colours = float(rng.uniform(0.35, 1.2)), float(rng.uniform(0.0, 0.07)), (shirt, shirt)
        look["sleeve"], look["hem"] = 1.95, 0.1
    return skirt_hem, flare, colours
