#!/bin/bash
# What a person sees of a run, as a user asks for it. Usage: tests/cli_report.sh build/gcc
. tests/command.sh

# alone FILE: a page that loads nothing and runs nothing
alone() { grep -q '^</html>$' "$1" && ! grep -qiE '<script|https?:|src="[^d]|<link' "$1"; }

numbered 40 >a.jsonl
cat >run.yaml <<'YAML'
model:
  init: {arch: llama, preset: tiny, seed: 3}
tokenizer: bytes
data: {train: [a.jsonl], valid: [a.jsonl]}
window: 512
batch: {windows: 2, micro: 1}
optim: {lr: 1e-3}
steps: 4
save: {every: 2, keep: 3}
eval: {every: 2, windows: 1}
output: runs/a
YAML

try train run.yaml
[ $code -eq 0 ] && alone runs/a/report.html; ok $? "a run ends with a report that stands alone"
grep -q '"event":"start".*"peak_flops".*"memory":{"weights":' runs/a/metrics.jsonl; ok $? "its metrics begin with what it is"
[ "$(grep -c '"flops".*"share_of_peak".*"memory".*"time"' runs/a/metrics.jsonl)" -eq 4 ]; ok $? "a step has operations, share of peak, memory and time"
[ "$(ls runs/a/tb | grep -c '^events.out.tfevents')" -eq 1 ]; ok $? "one file for TensorBoard"
grep -q '<title>AnchorAttention</title>' runs/a/window.svg; ok $? "the first window is drawn"
try train run.yaml --resume --set steps=6
[ $code -eq 0 ] && grep -q 'went on, kedge' runs/a/report.html && [ "$(ls runs/a/tb | wc -l)" -eq 2 ]
ok $? "a resumed run has a report of both parts, and another file for TensorBoard"

"$kedge" train run.yaml --quiet --set steps=1000000 --set output=runs/term 2>err & pid=$!
while kill -0 $pid 2>/dev/null && ! grep -q '"step":2,' runs/term/metrics.jsonl 2>/dev/null; do sleep 0.02; done
try report runs/term -o now.html
[ $code -eq 0 ] && alone now.html && [ "$(cat out)" = now.html ]; ok $? "a report while the run goes on"
kill -TERM $pid; wait $pid; code=$?
[ $code -eq 75 ] && alone runs/term/report.html; ok $? "a run that is stopped leaves a report"
try train run.yaml --set optim.lr=1e30 --set optim.clip=0 --set output=runs/nan
[ $code -eq 1 ] && grep -q '3 times in a row' err && grep -q 'not taken: loss or gradient' runs/nan/report.html
ok $? "a run that fails leaves a report, and its message stays"
mkdir -p runs/torn; cp runs/a/run.yaml runs/torn; head -c -20 runs/a/metrics.jsonl >runs/torn/metrics.jsonl
try report runs/torn
[ $code -eq 0 ] && alone runs/torn/report.html; ok $? "a last line that is cut short does no harm"
try report runs/none;                     says 1 'no metrics.jsonl'
try report;                               says 2 'which run?'
try report runs/a -o none/x.html;         says 1 'none/x.html'

try train run.yaml --set mask=full --set steps=2 --set output='runs/<full>'
try compare runs/a 'runs/<full>' --out masks.html
[ $code -eq 0 ] && [ "$(head -3 out | awk '{ print $1, $2, $3 }' | tr '\n' ';')" = 'run mask steps;a anchor 6;<full> full 2;' ] && grep -q 'own text' out
ok $? "runs side by side"
alone masks.html && grep -q '<th>mask</th><td>anchor</td><td>full</td>' masks.html && ! grep -q '<th>seed</th>' masks.html
ok $? "on a page, with the keys that differ"
try compare runs/a --json
[ $code -eq 0 ] && grep -q '"valid_after": [0-9]' out; ok $? "as JSON"
try compare runs/a --layout table5;       says 1 'no result.json in it'
try compare runs/a --layout tabel6;       says 2 'table6'
try compare runs/a runs/none;             says 1 'runs/none'
try compare;                              says 2 'which runs?'
for command in report compare; do try $command --help; [ $code -eq 0 ] && grep -q 'usage: kedge' out; ok $? "$command --help"; done
echo done
