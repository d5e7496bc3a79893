#!/usr/bin/env bash
# Handwritten digits from raw pictures to a report: the whole pipeline in reading order.
#
#   make run                                          with an S3 server of its own
#   DARKROOM_ROOT=s3://bucket/digits examples/digits.sh      on your bucket
#   DARKROOM_ROOT=/tmp/digits examples/digits.sh             on plain files
#
# Every step says --resume: a rerun finishes what was interrupted and shows what is done at once.
# DARKROOM_RECIPE=digits_smoke goes the same way in a fraction of the time.
set -euo pipefail

root=${DARKROOM_ROOT:-s3://darkroom/digits}
recipe=${DARKROOM_RECIPE:-digits}
report=${DARKROOM_REPORT:-.darkroom/report}

step() {
  printf '\n== %s\n' "$1"
  darkroom "$@" --recipe "$recipe" --resume
}

step prepare --output "$root/data"
step train --input "$root/data" --output "$root/model"
step sample --input "$root/model" --output "$root/samples"
step evaluate --input "$root/samples" --reference "$root/data" --output "$root/evaluation"
step report --input "$root/model" --samples "$root/samples" --evaluation "$root/evaluation" \
  --output "$root/report"

printf '\n== done\n'
darkroom storage get "$root/report" "$report" --overwrite
echo "Open $report/report.html in a browser."
