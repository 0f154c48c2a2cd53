"""Write a trained crop model as a SavedModel: ``metrabs-train export``.

    metrabs-train export --checkpoint-dir=runs/h36m --export-file=models/h36m_crop --stride-test=16

The result takes batches of crops and the intrinsics of their cameras and gives poses; it loads with
``tf.saved_model.load`` where this package is not installed.
"""

import json
from pathlib import Path

from metrabs_core import packaging
from training.predict import model_folder


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    parser.add_argument(
        "--checkpoint-dir", required=True, help="folder of a training run, or of a crop model (weights and card)"
    )
    parser.add_argument("--export-file", required=True, help="directory of the SavedModel; it must not exist yet")
    add_weights_arguments(parser)


def run(args) -> None:
    """Export the model and print what was written."""
    crop_model, card = packaging.load_crop_model(
        model_folder(args.checkpoint_dir), args.weights_dtype, args.stride_test
    )
    packaging.export(crop_model, args.export_file, card)
    print(summary(args.export_file))


def add_weights_arguments(parser) -> None:
    """Add what can be chosen while a model is still a folder of weights."""
    parser.add_argument("--stride-test", type=int, help="pixels between heatmap cells; default: as in training")
    parser.add_argument(
        "--weights-dtype",
        choices=packaging.WEIGHTS_DTYPES,
        help="how weights are stored (computation is float32): float16 takes half the space; default: float32",
    )


def summary(path: str) -> str:
    """One line about an exported model, to print at the end of a command."""
    card = json.loads((Path(path) / "model_card.json").read_text())
    megabytes = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()) / 1e6
    details = [card["skeleton"], f"crops of {card['crop_side']} px", f"{card['weights_dtype']} weights"]
    if "detector" in card:
        details.append(f"detector {card['detector']}")
    return f"{path}: {card['kind'].replace('_', ' ')}, {', '.join(details)}, {megabytes:.1f} MB"
