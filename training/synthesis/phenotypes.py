"""Who the people are: age, sex, stature, build."""

import numpy as np


def sample_phenotype(rng: np.random.Generator, labels: list[str]) -> tuple[np.ndarray, float]:
    """A random person: adults most often, a fifth and some more children, some elders.

    Args:
        rng: random generator of the scene.
        labels: phenotype axes in the wanted order.

    Returns:
        float32 [n_phenotypes] in 0..1, and the stature in metres that the height axis is to be set for.
    """
    years = rng.choice([rng.uniform(3, 10), rng.uniform(10, 17), rng.uniform(17, 55), rng.uniform(55, 85)],
                       p=[0.12, 0.1, 0.6, 0.18])  # fmt: skip
    female = rng.random() < 0.5
    adult = rng.normal(1.64, 0.07) if female else rng.normal(1.77, 0.075)
    # Mean growth curve (WHO/CDC medians, rounded) as a share of adult stature; girls are full-grown earlier.
    share = np.interp(years, [3, 6, 9, 12, 14, 16, 18], [0.58, 0.71, 0.81, 0.92 if female else 0.85, 0.97 if female
                      else 0.93, 1.0 if female else 0.985, 1.0])  # fmt: skip
    values = {
        "gender": rng.uniform(0.85, 1.0) if female else rng.uniform(0.0, 0.15),
        # Anny's age axis: 0 baby, 1/3 child, 2/3 young adult, 1 old.
        "age": np.interp(years, [0, 2, 10, 18, 40, 85], [0.0, 0.1, 0.36, 0.62, 0.74, 1.0]),
        "muscle": rng.beta(2.5, 2.5),
        "weight": rng.beta(2.2, 2.4),
        "height": 0.5,
        "proportions": rng.beta(3, 3),
        "cupsize": rng.beta(2, 3) if female else 0.1 * rng.random(),
        "firmness": rng.beta(2, 2),
    }
    races = rng.dirichlet([0.4, 0.4, 0.4])
    values.update(african=races[0], asian=races[1], caucasian=races[2])
    return np.array([values.get(label, 0.5) for label in labels], np.float32), float(adult * share)
