#!/usr/bin/env bash
# Builds the fuzz targets and runs each for so long, two at a time:
#   fuzz/run.sh SECONDS [TARGET...]
# Needs a nightly toolchain and `cargo install cargo-fuzz --locked`. Prints a table; the inputs that
# were fatal lie in fuzz/artifacts/TARGET/, and belong into fixtures/fuzz/TARGET/crash-NAME once
# they are no longer.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
[ -n "${FUZZ_BUILT:-}" ] || nice -n 15 cargo +nightly fuzz build

export seconds
# Files that targets read lie in memory.
[ -d /dev/shm ] && export TMPDIR=/dev/shm
run_one() {
  local target=$1 binary
  binary=$(echo fuzz/target/*/release/"$target")
  mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
  # An address sanitizer's own quarantine and stacks count too.
  nice -n 19 "$binary" -max_total_time="$seconds" -max_len=16384 -timeout=60 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" \
    "fuzz/corpus/$target" "fixtures/fuzz/$target" >"fuzz/artifacts/$target.log" 2>&1 || true
}
export -f run_one
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'run_one {}'

printf '| target | seconds | executions | cov | ft | corpus | crashes |\n| --- | --- | --- | --- | --- | --- | --- |\n'
failed=0
for target in "${targets[@]}"; do
  log=fuzz/artifacts/$target.log
  last=$(grep -a 'cov: ' "$log" | tail -1 || true)
  field() { sed -n "s/.* $1: \([^ ]*\).*/\1/p" <<<"$last"; }
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  ran=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log")
  crashes=$(find "fuzz/artifacts/$target" -type f | wc -l)
  [ "$crashes" -eq 0 ] || failed=1
  printf '| `%s` | %s | %s | %s | %s | %s | %s |\n' "$target" "${ran:-stopped}" "${executed:-?}" \
    "$(field cov)" "$(field ft)" "$(field corp)" "$crashes"
done
exit $failed
