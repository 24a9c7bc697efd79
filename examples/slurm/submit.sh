#!/bin/bash
# One run over a Slurm cluster: plan here, an array job for each stage behind the one before, then the commit.
#   ./submit.sh [PARTS]      in the folder of gristmill.yml, which lies, with the dataset, on storage that all nodes share
# Run it again after anything that failed: what is done is not done again.
set -euo pipefail
parts="${1:-16}"
here="$(cd "$(dirname "$0")" && pwd)"

# field NAME: one field of the JSON on standard input, a list as words.
field() {
  python3 -c 'import json, sys; value = json.load(sys.stdin).get(sys.argv[1], ""); print(*value if isinstance(value, list) else [value])' "$1"
}

planned="$(gristmill stage plan -q)"
if [ "$(field status <<<"$planned")" != planned ]; then
  echo "$planned"
  exit 0
fi
seq="$(field seq <<<"$planned")"
after=()
for stage in $(field stages <<<"$planned"); do
  job="$(sbatch --parsable --array="1-$parts" "${after[@]}" "$here/work.sbatch" "$seq" "$stage" "$parts")"
  after=(--dependency="afterok:${job%%;*}" --kill-on-invalid-dep=yes)
done
sbatch --parsable "${after[@]}" "$here/commit.sbatch" "$seq"
