"""Whether the crops come fast enough: what worker processes make, what the network takes, and both at once."""

import itertools
import json
import os
import subprocess
import sys
import time

from benchmark.report import Table

_BATCH = 32
_WORKERS = (1, 2)


def measure(people, quick: bool) -> dict:
    """Crops per second: ``workers`` (by number of processes), ``network``, ``together`` (by number of processes)."""
    # in a process of its own, without the models that other sections have loaded
    command = [sys.executable, "-m", "benchmark.training_input", str(people.dataset), str(4 if quick else 20)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ})
    return json.loads(output.stdout.splitlines()[-1])


def tables(numbers: dict) -> list[Table]:
    """Crops per second."""
    rows = [[f"crops from {n} process{'es' * (n != '1')}", f"{rate:.0f}"] for n, rate in numbers["workers"].items()]
    rows.append(["network alone, a step of the heads of the packaged model", f"{numbers['network']:.0f}"])
    rows += [
        [f"training with {n} process{'es' * (n != '1')} for crops", f"{rate:.0f}"]
        for n, rate in numbers["together"].items()
    ]
    note = (
        f"Batches of {_BATCH}, {numbers['crop_side']} pixels, all augmentation. Network and processes share "
        f"{numbers['cores']} cores; beside an accelerator the processes have the cores to themselves."
    )
    return [Table("Training input, crops per second", ["what", "crops/s"], rows, note)]


def _main(dataset: str, n_batches: int) -> None:
    import keras

    from metrabs_core import models
    from metrabs_core.network.crop_model import load_weights_dir
    from training import datasets
    from training.augmentation import find_appearance
    from training.crop_batches import CropBatches, CropSettings
    from training.examples import select_joints
    from training.recipes.accurate import CONFIG
    from training.trainer import Trainer, freeze_before

    model = load_weights_dir(models.locate())
    freeze_before(model.backbone, None)
    examples = select_joints(datasets.read(dataset, "train"), model.skeleton)
    appearance = find_appearance(CONFIG.occlude_aug_prob, CONFIG.background_aug_prob, None)
    settings = CropSettings(model.skeleton, model.crop_side, appearance)
    trainer = Trainer(model, absolute_from_step=0)
    trainer.compile(optimizer=keras.optimizers.AdamW(1e-6))

    def rate(step, batches) -> float:
        """Crops per second, after those that processes have made in advance."""
        for _ in range(8):
            step(next(batches))
        start = time.perf_counter()
        for _ in range(n_batches):
            step(next(batches))
        return _BATCH * n_batches / (time.perf_counter() - start)

    def train(batch):
        trainer.train_on_batch(*batch)

    result = {"workers": {}, "together": {}, "crop_side": model.crop_side, "cores": len(os.sched_getaffinity(0))}
    for workers in _WORKERS:
        for name, step in (("workers", lambda _: None), ("together", train)):
            with CropBatches(examples, [], settings, _BATCH, 0, seed=1) as batches:
                batches.start(workers)
                stream = batches.stream(0)
                result[name][workers] = rate(step, stream)
                batch = batches.latest

    result["network"] = rate(train, itertools.repeat(batch))
    print(json.dumps(result))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
