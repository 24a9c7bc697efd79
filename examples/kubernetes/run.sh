#!/bin/sh
# One run over many pods: plan, an indexed Job for each stage, commit. Run it again after anything; what is done is not done again.
#   ./run.sh [PARTS]
set -eu
parts="${1:-16}"
here="$(dirname "$0")"

# job NAME PARTS COMMAND: run a Job to its end; its last line of output goes to standard output.
job() {
  kubectl delete job "gristmill-$1" --ignore-not-found >&2
  sed -e "s|NAME|$1|" -e "s|PARTS|$2|" -e "s|COMMAND|$3|" "$here/stage.yaml" | kubectl apply -f - >&2
  until kubectl wait --for=condition=Complete "job/gristmill-$1" --timeout=60s >&2; do
    if kubectl wait --for=condition=Failed "job/gristmill-$1" --timeout=0s >&2; then
      kubectl logs "job/gristmill-$1" --tail=20 >&2
      exit 1
    fi
  done
  kubectl logs "job/gristmill-$1" | tail -n 1
}

# field NAME: one field of the JSON on standard input, a list as words.
field() {
  python3 -c 'import json, sys; value = json.load(sys.stdin).get(sys.argv[1], ""); print(*value if isinstance(value, list) else [value])' "$1"
}

planned="$(job plan 1 'exec gristmill stage plan -q')"
if [ "$(echo "$planned" | field status)" != planned ]; then
  echo "$planned"
  exit 0
fi
seq="$(echo "$planned" | field seq)"
for stage in $(echo "$planned" | field stages); do
  job "$seq-$stage" "$parts" "exec gristmill stage work $seq $stage -q --part \$((JOB_COMPLETION_INDEX + 1))/$parts" >&2
done
job "$seq-commit" 1 "exec gristmill stage commit $seq -q"
