#!/bin/bash
# Checks and measures everything that computes on a GPU, on a machine that has one and needs nothing else of ours.
#
#   scripts/gpu-check.sh pack   where cargo is: builds what is needed into target/gpu-check (less than 60 MiB)
#   scripts/gpu-check.sh run    where the GPU is, from the repository or from the packed folder: runs it, in less than 9 minutes
#
# `run` writes its logs and gpu-DEVICE.json to $OUT, or to target/gpu-check-run and docs/src/measurements. It goes on after a step
# that fails, and fails at the end. Without a GPU everything says so and is skipped, and that is no failure.
# GPU_CHECK_SECONDS is how long it may take in all (530), GPU_CHECK_MIB how large a tensor is measured (4096).
set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ -x $here/bench-gpu ]]; then
    root=
    pack=$here
else
    root=$(dirname "$here")
    pack=$root/target/gpu-check
fi
most_bytes=$((60 << 20))

die() {
    echo "gpu-check: $*" >&2
    exit 2
}

# Builds one package's test program and prints where it is.
test_program() {
    cargo test --release --no-run -p "$1" --test "$2" --message-format=json |
        sed -n 's/.*"name":"'"$2"'".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

pack() {
    [[ -n $root ]] || die "pack needs the repository"
    cd "$root" || die "no folder $root"
    local cards on_a_card
    cards=$(test_program gpu-probe cards) && [[ -x $cards ]] || die "the conformance suite was not built"
    on_a_card=$(test_program end-to-end on_a_card) && [[ -x $on_a_card ]] || die "the checks were not built"
    cargo build --release -p benches -p omnimind-cli --bin bench-gpu --bin omnimind || die "the bench was not built"
    rm -rf "$pack"
    mkdir -p "$pack" || die "no folder $pack"
    local built=${CARGO_TARGET_DIR:-target}/release program
    for program in "$cards:cards" "$on_a_card:on_a_card" "$built/bench-gpu:bench-gpu" "$built/omnimind:omnimind"; do
        strip -o "$pack/${program##*:}" "${program%:*}" || die "stripping ${program%:*} failed"
    done
    cp benches/gpu/peers.py benches/gpu/report.py scripts/gpu-check.sh "$pack/" || die "copying failed"
    git rev-parse HEAD >"$pack/commit" 2>/dev/null || echo unknown >"$pack/commit"
    ls -l "$pack"
    local bytes
    bytes=$(du -sb "$pack" | cut -f1)
    echo "$pack: $((bytes >> 20)) MiB"
    ((bytes <= most_bytes)) || die "that is more than $((most_bytes >> 20)) MiB"
}

# Runs a step for so many seconds at most, with its output in a log. What is in `must_not` must not be in the output.
must_not=
step() {
    local name=$1 limit=$2
    shift 2
    local left=$((deadline - SECONDS)) begin=$SECONDS log=$out/logs/$name.log result=ok code=0
    if ((left < 5)); then
        echo "left out for lack of time" >"$log"
        result="left out"
    else
        timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" >"$log" 2>&1 || code=$?
        ((code == 124 || code == 137)) && result="ran out of time"
        ((code != 0 && code != 124 && code != 137)) && result="failed with $code"
        if [[ $result == ok && -n $must_not ]] && grep -Eq "$must_not" "$log"; then
            result="says that something is missing here"
        fi
    fi
    printf '%s\t%s\t%s\n' "$name" "$result" "$((SECONDS - begin))" >>"$out/steps.tsv"
    printf '%-24s %s (%s s)\n' "$name" "$result" "$((SECONDS - begin))"
    if [[ $result != ok ]]; then
        failed+=("$name: $result")
        tail -n 30 "$log" | sed 's/^/    /'
    fi
}

has_gpu() {
    [[ -e /dev/nvidia0 ]] || nvidia-smi -L 2>/dev/null | grep -q '^GPU 0'
}

facts() {
    local query=name,driver_version,memory.total,pcie.link.gen.max,pcie.link.width.max,power.limit
    local name driver memory generation width power cuda
    IFS=, read -r name driver memory generation width power \
        < <(nvidia-smi --query-gpu="$query" --format=csv,noheader,nounits -i 0 | sed 's/, */,/g')
    cuda=$(nvidia-smi | sed -n 's/.*CUDA[^:]*Version: *\([0-9.]*\).*/\1/p' | head -n 1)
    printf '{"name":"%s","driver":"%s","cuda":"%s","memory_mib":"%s","pcie":"%s x%s","power_watts":"%s","commit":"%s"}\n' \
        "$name" "$driver" "$cuda" "$memory" "$generation" "$width" "$power" "$(cat "$pack/commit")"
}

# Where a store of the measured tensor fits: in memory, if possible.
stores() {
    local free
    free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
    if ((${free:-0} > 4 << 20)); then echo /dev/shm; else echo "${TMPDIR:-/tmp}"; fi
}

sanitizer() {
    local tool=$1
    ON_A_CARD=small step "$tool" 75 compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "$pack/on_a_card" --test-threads 1 codec::
}

run() {
    [[ -x $pack/bench-gpu ]] || die "there is nothing to run in $pack; run 'scripts/gpu-check.sh pack' where cargo is"
    out=${OUT:-${root:-$pack}/target/gpu-check-run}
    rm -rf "$out/logs" "$out/steps.tsv"
    mkdir -p "$out/logs" || die "no folder $out"
    failed=()
    SECONDS=0
    deadline=${GPU_CHECK_SECONDS:-530}
    local mib=${GPU_CHECK_MIB:-4096} gpu=yes
    if has_gpu; then
        # What is skipped for lack of a GPU was not found, and that is a failure here.
        must_not="no GPU|no kernels|no anchored|cannot be launched"
        facts | tee "$out/facts.json"
    else
        gpu=
        echo "no GPU: what needs one is skipped"
    fi
    local checks=(--test-threads 1 --nocapture --skip the_checks_hold_on_the_stand_in)
    step conformance 60 "$pack/cards" --test-threads 1 --nocapture conformance::the_real_card
    for part in codec story addresses threads full_card; do
        step "checks-$part" 90 "$pack/on_a_card" "${checks[@]}" "$part::"
    done
    step omnimind-gpu 20 "$pack/omnimind" gpu
    step omnimind-gpu-json 20 "$pack/omnimind" gpu --json
    step peers 90 python3 "$pack/peers.py" "$mib"
    cp "$out/logs/peers.log" "$out/peers.jsonl"
    # Compiling is measured too, so nothing may come from a cache.
    CUDA_CACHE_DISABLE=1 step bench 240 "$pack/bench-gpu" --mib "$mib" --stores "$(stores)" --peers "$out/peers.jsonl"
    cp "$out/logs/bench.log" "$out/bench.jsonl"
    if [[ -z $gpu ]]; then
        echo "memcheck, racecheck, initcheck: skipped (no GPU)"
    elif ! command -v compute-sanitizer >/dev/null; then
        echo "memcheck, racecheck, initcheck: skipped (no compute-sanitizer in the path)"
    else
        for tool in memcheck racecheck initcheck; do
            sanitizer "$tool"
        done
    fi
    echo
    python3 "$pack/report.py" "$out" || failed+=("report")
    if [[ -z ${OUT:-} && -n $root ]] && compgen -G "$out/gpu-*.json" >/dev/null; then
        cp "$out"/gpu-*.json "$root/docs/src/measurements/"
    fi
    grep -h "skipped" "$out"/logs/*.log | sort | uniq -c
    echo "$SECONDS seconds; logs are in $out/logs"
    if ((${#failed[@]} > 0)); then
        printf 'FAILED %s\n' "${failed[@]}"
        exit 1
    fi
    echo "nothing failed"
}

case ${1:-} in
pack) pack ;;
run) run ;;
*) die "say pack or run; see the first lines of this script" ;;
esac
