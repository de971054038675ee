# What the scripts cli_*.sh share: `. tests/command.sh` from the repository's root, with the build folder as $1.
# Each prints one line a fact, "ok N fact" or "not ok N fact", "skipped: what" for what cannot be tried, and "done" at its end.
set -u
kedge=$(realpath "$1/kedge")
golden=$(realpath tests/golden)
home=${home:-$(mktemp -d)}
trap 'rm -rf "$home"' EXIT
cd "$home" || exit 1

n=0
ok() { n=$((n + 1)); if [ "$1" -eq 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; [ -e err ] && cat err; fi; }
try() { "$kedge" "$@" >out 2>err; code=$?; }
# says CODE "text" [LINES]: the last command ended with CODE and its stderr has text, in at most so many lines (1)
says() { [ "$code" -eq "$1" ] && grep -qF -- "$2" err && [ "$(grep -c . err)" -le "${3:-1}" ]; ok $? "exit $1: $2"; }
# sum STEP: the hashes of a checkpoint's weights and moments; what is not there equals nothing
sum() {
    local hashes
    if hashes=$(sha256sum "$1/model.safetensors" "$1/optimizer.safetensors" 2>/dev/null); then cut -d' ' -f1 <<<"$hashes" | tr '\n' ' '; else echo "none $RANDOM$RANDOM"; fi
}
# numbered N: a JSON line a document, deterministic
numbered() { local i; for i in $(seq 1 "$1"); do printf '{"text": "document %d: %s"}\n' "$i" "$(seq -s ' ' "$i" $((i * 7)))"; done; }
