"""Measure, print tables as Markdown, and write all numbers as JSON: ``python -m benchmark [SECTION ...]``."""

import argparse
import importlib.util
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # sections run several processes

from benchmark import report
from benchmark.people import PeoplePictures
from metrabs_core.errors import UserError
from metrabs_core.process import keep_freed_memory

# Name of each section: the module with its ``measure(people, quick)`` and ``tables(numbers)``, and what it measures.
SECTIONS = {
    "startup": ("benchmark.startup", "loading a model and its first calls, in fresh processes"),
    "stages": ("benchmark.stages", "each stage of a frame, for 1 to 16 people and 1 or 5 crops of each, and a crowd"),
    "variants": ("benchmark.variants", "one option against the other, taken in turns"),
    "peers": ("benchmark.peers", "against MediaPipe Pose and a stand-in for the authors' pipeline, in turns"),
    "smoothing": ("benchmark.smoothing", "what smoothing takes off the jitter of people, and how late they come"),
    "ros": ("benchmark.ros", "the node through DDS: frames per second, latency, memory"),
    "gpu": ("benchmark.gpu", "networks and frames on a GPU, and what of them it leaves to the processor"),
    "training": ("benchmark.training_input", "training crops per second against what the network takes"),
}
DOCS = Path(__file__).parents[1] / "docs" / "performance.md"


def main() -> None:
    """Command line entry point."""
    listed = "\n".join(f"  {name:10}{purpose}" for name, (_, purpose) in SECTIONS.items())
    parser = argparse.ArgumentParser(
        "python -m benchmark",
        description=__doc__,
        epilog=f"sections:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="what to measure (default: everything)")
    parser.add_argument("--json", type=Path, default=Path("benchmark.json"), help="where to write (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="few repetitions, to see that it works")
    parser.add_argument("--update-docs", action="store_true", help=f"put the tables into {DOCS.name}, too")
    args = parser.parse_args()
    for name in args.sections:
        if name not in SECTIONS:
            parser.error(f"there is no section {name!r}; choose from {', '.join(SECTIONS)}")
    sections = args.sections or list(SECTIONS)
    if {"stages", "ros"} & {*sections} and not importlib.util.find_spec("metrabs_msgs"):
        parser.error("ROS messages are needed: `. .venv/local_setup.sh` before this, or `make bench`")

    keep_freed_memory()  # as the node does; otherwise networks take longer here than there
    numbers = {"machine": report.machine()}
    print(f"# Benchmark\n\n{report.in_words(numbers['machine'])}\n")
    with tempfile.TemporaryDirectory() as folder:
        people = PeoplePictures(Path(folder))
        for name in sections:
            section = importlib.import_module(SECTIONS[name][0])
            start = time.monotonic()
            try:
                numbers[name] = section.measure(people, args.quick)
            except UserError as error:
                print(f"The section {name} is left out. {error}\n", flush=True)
                continue
            text = report.markdown(section.tables(numbers[name]))
            print(f"{text}\n({time.monotonic() - start:.0f} s)\n", flush=True)
            report.write_json(args.json, numbers)
            if args.update_docs:
                report.update_docs(DOCS, name, text, numbers["machine"])


if __name__ == "__main__":
    main()
