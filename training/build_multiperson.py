"""Put a crop model behind full images and person boxes: ``metrabs-train build-multiperson``.

    metrabs-train build-multiperson --input-model-path=models/h36m_crop --output-model-path=models/h36m_multiperson

The result is a SavedModel with the methods of ``metrabs_core.combined.MultipersonModel``.
"""

from metrabs_core import packaging
from metrabs_core.combined import MultipersonModel
from training.export import add_weights_arguments, summary
from training.predict import model_folder


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    add_input_arguments(parser)


def run(args) -> None:
    """Build the model and print what was written."""
    crop_model, card = load_input(args)
    packaging.export(MultipersonModel(crop_model), args.output_model_path, card)
    print(summary(args.output_model_path))


def add_input_arguments(parser) -> None:
    """Add the arguments that name the crop model and the place of the result."""
    parser.add_argument(
        "--input-model-path", required=True, help="an exported model, or a folder of a training run or of its weights"
    )
    parser.add_argument("--output-model-path", required=True, help="directory of the SavedModel; must not exist yet")
    add_weights_arguments(parser)


def load_input(args):
    """The crop model that the arguments name, and its card; ValueError if its poses are only relative."""
    crop_model, card = packaging.load_crop_model(
        model_folder(args.input_model_path), args.weights_dtype, args.stride_test
    )
    packaging.check_absolute(card)
    return crop_model, card
