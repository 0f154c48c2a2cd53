#!/usr/bin/env bash
# Prints the path of the sample video: pedestrians from above, 768x576 pixels, 10 frames/s, 80 s, from OpenCV's
# examples. It is taken out of Debian's or Ubuntu's package opencv-doc, which is downloaded but not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
video=.cache/vtest.avi
sha256=45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf

fail() { echo "sample video: $*; give a video of your own with: make demo INPUT=my.mp4" >&2; exit 1; }

if [[ ! -e $video ]]; then
    for tool in apt-get dpkg-deb; do
        command -v $tool >/dev/null || fail "it comes with Debian's package opencv-doc, and there is no $tool here"
    done
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    chmod 755 "$folder"
    echo "sample video: downloading Debian's package opencv-doc (95 MB)" >&2
    download() { (cd "$folder" && apt-get -qq download opencv-doc >&2); }
    # A machine that never asked for the lists of packages does not know this one.
    download 2>/dev/null || { [[ $(id -u) == 0 ]] && apt-get -qq update >&2 && download; } ||
        fail "'apt-get download opencv-doc' failed (if the package lists are missing: sudo apt-get update)"
    dpkg-deb -x "$folder"/opencv-doc_*.deb "$folder"
    found=$folder/usr/share/doc/opencv-doc/examples/data/vtest.avi
    [[ $(sha256sum <"$found") == "$sha256 "* ]] || fail "the package's vtest.avi is not the expected file"
    mkdir -p .cache
    cp "$found" "$video.new"
    mv "$video.new" "$video"
fi
echo "$video"
