#!/bin/bash
# kedge tokenize, as a user calls it. Usage: tests/cli_tokenize.sh build/gcc
. tests/command.sh

llama=$golden/tokenizers/llama2 bytes=$golden/tokenizers/llama3
# prints "text": the last command ended with 0 and printed these lines
prints() { [ "$code" -eq 0 ] && [ "$(cat out)" = "$1" ]; ok $? "$2"; }

# From text to ids.
printf 'a b\nc' >a.txt
try tokenize --tokenizer bytes a.txt;                              prints '256 97 32 98 10 99' "a file is one text, its ids one line"
try tokenize --tokenizer bytes --no-specials <a.txt;               prints '97 32 98 10 99' "standard input without FILE"
try tokenize --tokenizer bytes --no-specials - a.txt <<<z
prints $'122 10\n97 32 98 10 99' "- is standard input among files"
try tokenize --tokenizer bytes --lines a.txt;                      prints $'256 97 32 98\n256 99' "--lines: a line is a text"
printf '{"text": "<s>"}\n\n{"text": "", "meta": {"redpajama_set_name": "RedPajamaBook"}}\n' >a.jsonl
try tokenize --tokenizer bytes --no-specials a.jsonl;              prints $'60 115 62' "a record's text is a text, an empty one too"
[ "$(wc -l <out)" -eq 2 ]; ok $? "an empty text has an empty line"
zstd -q a.jsonl -o b.jsonl.zst; zstd -q a.txt -o b.txt.zst
try tokenize --tokenizer bytes b.txt.zst 'b.json*';                prints $'256 97 32 98 10 99\n256 60 115 62\n256' "zstd and patterns"
: >empty.txt
try tokenize --tokenizer bytes empty.txt;                          prints 256 "an empty file is an empty text"
try tokenize --tokenizer bytes --lines empty.txt;                  prints '' "and has no lines"

# tokenizer.json
try tokenize --tokenizer "$llama" <<<'<s>x'; a=$(cat out)
try tokenize --tokenizer "$llama/tokenizer.json" <<<'<s>x';        prints "$a" "a folder or the file itself"
[ "${a:0:4}" = '1 1 ' ]; ok $? "a special token in a text is one id, as Hugging Face has it"
try tokenize --tokenizer "$llama" --no-specials <<<'<s>x';         prints "${a:2}" "--no-specials: the text's alone"
try tokenize --tokenizer "$llama" --no-specials --specials-as-text <<<'<s>x'
[ $code -eq 0 ] && ! grep -qE '(^| )1( |$)' out; ok $? "--specials-as-text: no special id"
printf 'caf\xc3' >cut.txt
try tokenize --tokenizer "$llama" cut.txt;                         says 1 'cut.txt:1: byte 3: not valid UTF-8'
try tokenize --tokenizer "$llama" cut.txt --replace-invalid; a=$(cat out)
printf 'caf\xef\xbf\xbd' >whole.txt
try tokenize --tokenizer "$llama" whole.txt;                       prints "$a" "--replace-invalid: as U+FFFD"

# And back.
for t in "$llama" "$bytes" "$golden/tokenizers/mistral" bytes; do
    "$kedge" tokenize --tokenizer "$t" --no-specials "$golden/../../README.md" >ids 2>err
    try tokenize --tokenizer "$t" --decode ids
    [ $code -eq 0 ] && { cat "$golden/../../README.md"; echo; } | cmp - out 2>err; ok $? "a text comes back: $(basename "$t")"
done
try tokenize --tokenizer "$llama" --lines --json a.txt; cp out a.json
try tokenize --tokenizer "$llama" --decode --no-specials a.json;   prints $'a b\nc' "--decode takes what --json prints"
try tokenize --tokenizer bytes --decode <<<'[104, 105]';           prints hi "and lists"
try tokenize --tokenizer bytes --decode --json <<<'256 34 104 10 255'
prints '{"tokens":5,"text":"<bos>\"h\n'$'\xef\xbf\xbd''"}' "--decode --json"
try tokenize --tokenizer bytes --decode <<<'1 x';                  says 1 '/dev/stdin:1: column 3: an id expected'
try tokenize --tokenizer bytes --decode <<<'259';                  says 1 '/dev/stdin:1: id 259: the vocabulary has 259'

# Objects and counts.
try tokenize --tokenizer bytes --json --lines a.txt
[ "$(head -1 out)" = '{"path":"a.txt","line":1,"tokens":4,"ids":[256,97,32,98],"pieces":["<bos>","a"," ","b"]}' ]; ok $? "--json"
try tokenize --tokenizer "$llama" --json <<<'the model é <s>'
[ $code -eq 0 ] && grep -q '"pieces":\["<s>"," ' out && [ "$(sed 's/.*"pieces":\["//; s/"\]}$//; s/","//g' out)" = '<s> the model é <s> \n' ]; ok $? "pieces are the text, each with its spaces"
try tokenize --tokenizer bytes --stats a.jsonl a.txt
[ $code -eq 0 ] && awk '$1 == "all" && $2 == 3 && $3 == 8 && $4 == 11 { a = 1 } $1 == "Book" && $2 == 1 && $4 == 1 { b = 1 } $1 == "txt" { c = 1 }
    /^encoded in .* MB\/s/ { d = 1 } END { exit !(a && b && c && d) }' out; ok $? "--stats: by source, and the speed"
try tokenize --tokenizer bytes --stats --json a.jsonl a.txt
[ $code -eq 0 ] && grep -q '"texts":3,"bytes":8,"tokens":11,"seconds":.*{"source":"Book","texts":1,"bytes":0,"tokens":1}' out
ok $? "--stats --json"

# Threads change nothing.
numbered 60 >n.jsonl
cat n.jsonl n.jsonl n.jsonl n.jsonl >m.jsonl
for t in "$llama" "$bytes"; do
    for threads in 1 2 5; do "$kedge" tokenize --tokenizer "$t" --json --threads $threads m.jsonl n.jsonl >out.$threads 2>err; done
    [ "$(wc -l <out.1)" -eq 300 ] && cmp out.1 out.2 2>err && cmp out.1 out.5 2>err; ok $? "any number of threads prints the same: $(basename "$t")"
done
{ cat n.jsonl; echo '{"text": 5}'; cat n.jsonl; } >bad.jsonl
try tokenize --tokenizer "$llama" --threads 1 bad.jsonl; mv out one
says 1 'bad.jsonl:61: '
[ "$(wc -l <one)" -eq 60 ]; ok $? "what stands before a bad line is printed"
try tokenize --tokenizer "$llama" --threads 3 bad.jsonl
cmp one out 2>err; ok $? "and a failure cuts it at the same place"

# Errors say what to do.
try tokenize;                                                      says 2 'which tokenizer? kedge tokenize --tokenizer DIR'
try tokenize --tokenizer nowhere a.txt;                            says 2 'nowhere'
try tokenize --tokenizer bytes none.txt;                           says 1 'none.txt'
try tokenize --tokenizer bytes --threads -1 a.txt;                 says 2 '--threads'
try tokenize --tokenizer bytes --tokens a.txt;                     says 2 'did you mean --'
echo '{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}' >tokenizer.json
try tokenize --tokenizer . a.txt;                                  says 1 'Unigram'
echo done
