#!/bin/bash
# kedge serve as its clients meet it: every endpoint, bad and hostile requests, many at once, clients that go away, signals. Usage:
# tests/cli_serve.sh build/gcc
. tests/command.sh
command -v python3 >/dev/null || { echo "skipped: no python3"; echo done; exit; }

"$kedge" init model --preset tiny --window 4096 >out 2>err; ok $? "a model of bytes"

# start [OPTIONS]: a server at $url, whose process is $server
start() {
    : >log
    "$kedge" serve --model model --port 0 "$@" 2>log &
    server=$!
    for _ in $(seq 200); do url=$(sed -n 's/.*serving at //p' log) && [ -n "$url" ] && return; sleep 0.05; done
    cat log
}
# ended CODE TEXT: the server ends by itself, with a line of its log
ended() { wait $server; code=$?; cp log err; [ $code -eq "$1" ] && grep -qF -- "$2" log; ok $? "it ends with $1: $2"; }
trap 'kill -9 ${server:-} 2>/dev/null; rm -rf "$home"' EXIT

cat >client.py <<'PY'
import http.client, json, socket, sys, threading, time, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])

def fact(good, what): print(0 if good else 1, what, flush=True)

class Reply:
    def __init__(self, status, headers, body): self.status, self.headers, self.body = status, headers, body
    def json(self): return json.loads(self.body, parse_constant=lambda c: 1 / 0)
    def error(self, status, text): return self.status == status and text in self.json()["error"]["message"] and self.json()["error"]["code"] == status

def ask(path, body=None, method=None, **headers):
    c = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    c.request(method or ("GET" if body is None else "POST"), path, data, headers)
    r = c.getresponse()
    reply = Reply(r.status, r.headers, r.read())
    c.close()
    return reply

def complete(**body): return ask("/v1/completions", body)

def connect():
    s = socket.create_connection((url.hostname, url.port), timeout=60)
    return s

def raw(data, wait=True):
    s = connect()
    s.sendall(data)
    out = b""
    try:
        while wait:
            piece = s.recv(65536)
            if not piece: break
            out += piece
    except ConnectionError: pass
    s.close()
    return out

def scores(reply, context):  # as lm-evaluation-harness reads them
    result = []
    for choice in sorted(reply["choices"], key=lambda c: c["index"]):
        l = choice["logprobs"]
        logs, tops = l["token_logprobs"][context:-1], l["top_logprobs"][context:-1]
        result.append((sum(logs), all(a == max(t.values()) for a, t in zip(logs, tops)), len(l["token_logprobs"])))
    return result
PY

cat >every.py <<'PY'
from client import *
r = ask("/health"); fact(r.status == 200 and r.json() == {"status": "ok"}, "GET /health")
r = ask("/v1/models").json()["data"][0]
fact(r["id"] == "model" and r["max_model_len"] == 1024 and r["kedge"]["tokenizer"] == "bytes", "GET /v1/models says what is served")
r = ask("/tokenizer_info").json(); fact(r["eos_token"] == "<eos>" and r["bos_token"] == "<bos>" and r["lead"] == [256], "GET /tokenizer_info")
fact(ask("/tokenize", {"prompt": "hi"}).json()["tokens"] == [256, 104, 105], "POST /tokenize: BOS leads")
fact(ask("/tokenize", {"prompt": "hi", "add_special_tokens": False}).json()["tokens"] == [104, 105], "unless it should not")
fact(ask("/tokenize", {"prompt": "<eos>", "add_special_tokens": False}).json()["tokens"] == [257], "the name of EOS is its id")
fact(ask("/detokenize", {"tokens": [104, 105]}).json() == {"prompt": "hi"}, "POST /detokenize")
fact(ask("/detokenize", {"tokens": [5000]}).error(400, "id 5000"), "which refuses what is no id")

ids = [256] + list(b"the tide is low")
body = {"model": "any", "prompt": [ids, ids[:-1] + [66]], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
r = ask("/v1/completions", body, Authorization="Bearer ").json()
fact([len(c["logprobs"]["tokens"]) for c in r["choices"]] == [len(ids) + 1] * 2, "echo: an entry a token and one more")
l = r["choices"][0]["logprobs"]
fact(l["token_logprobs"][0] is None and l["top_logprobs"][0] is None and all(x < 0 for x in l["token_logprobs"][1:]), "the first has none")
fact(all(len(t) <= 2 and max(t.values()) >= x for t, x in zip(l["top_logprobs"][1:], l["token_logprobs"][1:])), "the likeliest are beside them")
fact(r["choices"][0]["text"].startswith("<bos>the tide is low") and r["usage"]["prompt_tokens"] == 2 * len(ids), "text and usage")
a = scores(r, len(ids) - 1)
one = scores(ask("/v1/completions", dict(body, prompt=[ids])).json(), len(ids) - 1)
fact(a[0] == one[0] and a[0] != a[1], "a prompt alone has the same likelihoods, to the bit")
best = ask("/v1/completions", {"prompt": [ids], "temperature": 0, "max_tokens": 3, "logprobs": 0}).json()["choices"][0]["logprobs"]
fact(len(best["tokens"]) == 3 and [len(t) for t in best["top_logprobs"]] == [1] * 3, "logprobs 0 has the tokens alone")
r = complete(prompt=[ids], temperature=0, max_tokens=5, logprobs=64, echo=True).json()["choices"][0]["logprobs"]
fact(all(x == max(t.values()) for x, t in list(zip(r["token_logprobs"], r["top_logprobs"]))[-5:]), "greedy tokens are the likeliest, exactly")
r = complete(prompt=[ids], max_tokens=0, logprobs=1, echo=True).json()["choices"][0]
fact(len(r["logprobs"]["tokens"]) == len(ids) and r["text"] == "<bos>the tide is low", "max_tokens 0 scores alone")
r = complete(prompt="abc", max_tokens=0, echo=True).json()
fact(r["choices"][0]["text"] == "abc" and r["usage"]["completion_tokens"] == 0, "max_tokens 0 without logprobs")

text = complete(prompt="abc", max_tokens=20, temperature=0).json()
fact(text["usage"] == {"prompt_tokens": 4, "completion_tokens": 20, "total_tokens": 24} and text["choices"][0]["finish_reason"] == "length", "a text, led by BOS")
same = complete(prompt=[256, 97, 98, 99], max_tokens=20, temperature=0).json()["choices"][0]["text"]
fact(same == text["choices"][0]["text"], "its ids are the same prompt")
fact(complete(prompt=[97, 98, 99], max_tokens=1).json()["usage"]["prompt_tokens"] == 3, "nothing is put in front of ids")
a, b, c = (complete(prompt="abc", max_tokens=30, temperature=1.2, top_p=0.9, top_k=50, seed=s).json()["choices"][0]["text"] for s in (5, 5, 6))
fact(a == b != c, "a seed is what it draws")
fact(complete(prompt="abc", max_tokens=30).json()["choices"][0]["text"] != complete(prompt="abc", max_tokens=30).json()["choices"][0]["text"],
     "without one, draws differ")
stop = next(x for x in a[3:] if x.isalnum())
r = complete(prompt="abc", max_tokens=30, temperature=1.2, top_p=0.9, top_k=50, seed=5, stop=["qqq", stop]).json()["choices"][0]
fact(r["finish_reason"] == "stop" and r["text"] == a[:a.index(stop)], "a stop string ends it")
r = ask("/v1/completions", {"prompt": ["abc", "x"], "max_tokens": 30, "temperature": 1.2, "top_p": 0.9, "top_k": 50, "seed": 5, "stream": True, "ignore_eos": True,
                            "stream_options": {"include_usage": True}, "echo": True})
events = r.body.decode().split("\n\n")
fact(r.headers["Content-Type"] == "text/event-stream" and events[-2:] == ["data: [DONE]", ""], "a stream of events")
parts = [json.loads(e[6:]) for e in events[:-2]]
said = "".join(c["text"] for p in parts for c in p["choices"] if c["index"] == 0)
fact(said == "abc" + a and [c["finish_reason"] for p in parts for c in p["choices"]].count("length") == 2, "its pieces are the text")
fact(parts[-1]["choices"] == [] and parts[-1]["usage"]["completion_tokens"] == 60, "and its end the tokens")
r = complete(prompt="abc", max_tokens=100000, temperature=0).json()
fact(r["usage"]["total_tokens"] <= 1025 and r["choices"][0]["finish_reason"] in ("length", "stop"), "the length ends it")

greedy = text["choices"][0]["text"]
fact(ask("/generate", {"prompt": "abc", "max_tokens": 20, "temperature": 0.0, "top_k": 32, "top_p": 1.0, "stop": []}, "PUT").json() == {"text": [greedy]},
     "PUT /generate, vLLM's way")
fact(ask("/generate", {"prompts": ["abc"], "tokens_to_generate": 20, "temperature": 0.0, "stop_words_list": "", "random_seed": 0}, "PUT").json() == [greedy],
     "TensorRT-LLM's")
fact(ask("/generate", {"text": "abc", "sampling_params": {"max_new_tokens": 20, "temperature": 0}}, "PUT").json() == {"text": greedy}, "SGLang's")

for status, what, r in [
    (404, "/v2: there is nothing here", ask("/v2")),
    (404, "nothing here", ask("/v1/completions/", {"prompt": "a"})),
    (405, "GET: /v1/completions takes POST", ask("/v1/completions")),
    (405, "takes GET", ask("/health", {"a": 1})),
    (400, "n: only 1", complete(prompt="a", n=3)),
    (400, "promt: unknown field, did you mean prompt?", complete(promt="a")),
    (400, "request:1:", ask("/v1/completions", b'{"prompt": "a"')),
    (400, "request:1:", ask("/v1/completions", b"\xff\xfe\x00")),
    (400, "request:1:", ask("/v1/completions", b"")),
    (400, "request:1:65", ask("/v1/completions", b"[" * 100000)),
    (400, "5000 tokens and", complete(prompt=[1] * 5000)),
    (400, "token 1 of the prompt is 999", complete(prompt=[1, 999])),
    (400, "prompt 1: token 0", complete(prompt=[[1], [999]])),
    (400, "token 1 of the prompt is 999", complete(prompt=[1, 999], stream=True)),
    (400, "logprobs: 65", complete(prompt="a", logprobs=65)),
    (400, "temperature -1", complete(prompt="a", temperature=-1)),
    (413, "--max-body", ask("/v1/completions", b" " * 2000000)),
]: fact(r.error(status, what), f"{status}: {what}")
fact(ask("/v1/completions").headers["Allow"] == "POST" and ask("/generate").headers["Allow"] == "PUT, POST", "405 says what is allowed")
fact(b" 413 " in raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" +
                     (b"40000\r\n" + b" " * 0x40000 + b"\r\n") * 6 + b"0\r\n\r\n"), "413 in chunks")
fact(b" 200 " in raw(b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\n{\"pro\r\nb\r\nmpt\":\"hi\"} \r\n0\r\n\r\n"),
     "chunks that are small are taken")
for junk in [b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 400000 + b" HTTP/1.1\r\n\r\n",
             b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
             b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 100000 + b"\r\n", b"\0" * 5000]:
    s = connect()
    try: s.sendall(junk); s.shutdown(socket.SHUT_WR); s.recv(100)
    except OSError: pass
    s.close()
fact(ask("/health").status == 200, "junk does it no harm")
c = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
for i in range(3):
    c.request("POST", "/tokenize", json.dumps({"prompt": "a"})); good = c.getresponse().read() == b'{"count":2,"max_model_len":1024,"tokens":[256,97]}'
fact(good, "a connection is kept")
PY

cat >many.py <<'PY'
from client import *
import random
draw = random.Random(7)
stem = [256] + [draw.randrange(256) for _ in range(700)]
questions = []
for i in range(48):
    own = [draw.randrange(256) for _ in range(draw.randrange(1, 40))]
    questions.append(draw.choice([
        {"prompt": [stem[:draw.randrange(1, 700)] + own], "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0},
        {"prompt": [own, stem[:300] + own], "max_tokens": draw.randrange(1, 60), "temperature": 1, "seed": i, "logprobs": draw.randrange(3)},
        {"prompt": "".join(map(chr, own)), "max_tokens": 20, "temperature": 0, "stop": ["e", "zz"]}]))
def answer(q):
    r = complete(**q)
    return r.json()["choices"] if r.status == 200 else r.body
alone = [answer(q) for q in questions]
got = {}
def work(n):
    order = list(range(len(questions)))
    random.Random(n).shuffle(order)
    for i in order: got[n, i] = answer(questions[i])
threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
for t in threads: t.start()
for t in threads: t.join()
fact(len(got) == 12 * 48 and all(a == alone[i] for (n, i), a in got.items()), "twelve clients at once have the answers that each has alone")
PY

cat >gone.py <<'PY'
from client import *
long = json.dumps({"prompt": "a", "max_tokens": 4000, "ignore_eos": True, "temperature": 1}).encode()
head = lambda n: b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % n
held = [connect() for _ in range(2)]
for s in held: s.sendall(head(len(long)) + long)
time.sleep(0.3)
r = complete(prompt="b", max_tokens=1)
fact(r.error(429, "the queue has 2") and r.headers["Retry-After"], "429 where the queue is full")
fact(complete(prompt=["a"] * 3).error(429, "3 more would be too many"), "also for one request")
for s in held: s.close()
until = time.time() + 10
while complete(prompt="b", max_tokens=1).status == 429 and time.time() < until: time.sleep(0.05)
fact(complete(prompt="b", max_tokens=1).status == 200, "clients that go away leave their place")
stream = json.dumps({"prompt": "a", "max_tokens": 4000, "ignore_eos": True, "temperature": 1, "stream": True}).encode()
for i in range(5):
    s = connect(); s.sendall(head(len(stream)) + stream); s.recv(500); s.close()
    until = time.time() + 10
    while complete(prompt=["b", "c"], max_tokens=1).status == 429 and time.time() < until: time.sleep(0.05)
fact(complete(prompt=["b", "c"], max_tokens=1).status == 200, "and so do streams")
t = time.time(); out = raw(head(1000) + b"{"); fact(b" 408 " in out and b"--timeout" in out and time.time() - t < 10, "408: who is slow to send")
t = time.time(); raw(b"GET /hea"); fact(time.time() - t < 10, "a line that does not end is not waited for")
s = connect(); t = time.time()
try:
    while time.time() - t < 10: s.sendall(b"X"); time.sleep(0.1)
    slow = True
except OSError: slow = False
fact(not slow, "nor one that ends a byte at a time")
fact(ask("/health").status == 200, "it goes on")
PY

facts() { while read -r code what; do ok "$code" "$what"; done < <(python3 "$@" "$url" 2>err); [ ! -s err ]; ok $? "$1 ends"; }

start --max-body 1M --length 1K
facts every.py
facts many.py
kill -TERM $server; ended 0 stopped
! grep -q -i 'warning\|sanitizer' log; ok $? "nothing was amiss"

start --queue 2 --timeout 1
facts gone.py
kill -9 $server; wait $server 2>/dev/null
start --port "${url##*:}"; [ "$(python3 -c 'import sys; sys.argv = ["", sys.argv[1]]; from client import *; print(ask("/health").status)' "$url")" = 200 ]
ok $? "killed, it starts again where it was"

cat >late.py <<'PY'
from client import *
print(complete(prompt="a", max_tokens=int(sys.argv[2]), ignore_eos=True, temperature=1).status, flush=True)
PY
python3 late.py "$url" 1500 >status & client=$!; sleep 0.5
kill -INT $server; ended 0 stopped; wait $client
[ "$(cat status)" = 200 ]; ok $? "what is under way is finished"
for wait in 0.4 1 2 3; do  # until the client has asked: a machine may be busy
    start --grace 0 --batch 1
    for _ in 1 2 3 4; do python3 late.py "$url" 4000; done >status 2>/dev/null & client=$!; sleep $wait
    kill -TERM $server; wait $server; code=$?; wait $client 2>/dev/null
    grep -q 503 status && break
done
[ $code -eq 0 ] && grep -q 503 status; ok $? "or called back with 503, and ends with 0"

try serve --model model --port 0 --token @secret;       says 1 "secret: cannot open"
printf 'open sesame\n' >secret
start --token @secret --anchor on --name small --bos off
cat >token.py <<'PY'
from client import *
q = {"prompt": "a", "max_tokens": 1}
fact(ask("/v1/completions", q).error(401, "bearer token") and ask("/v1/models").status == 401, "401 without a token")
fact(all(ask("/v1/completions", q, Authorization=t).status == 401 for t in ("Bearer open", "Bearer open sesame!", "Bearer ", "open sesame", "Basic open sesame")),
     "401 with another")
fact(ask("/v1/completions", q).headers["WWW-Authenticate"] == "Bearer", "which says what is wanted")
r = ask("/v1/completions", q, Authorization="Bearer open sesame")
fact(r.status == 200 and r.json()["model"] == "small" and r.json()["usage"]["prompt_tokens"] == 2, "200 with it, the anchor in front, the model by its name")
fact(ask("/health").status == 200, "health is open")
PY
facts token.py
"$kedge" serve --model model --port "${url##*:}" >out 2>err; code=$?; says 1 "cannot listen on 127.0.0.1 port ${url##*:}" 2
kill -TERM $server; ended 0 stopped

try serve --port 0;                                     says 2 "serve: which model? --model DIR"
try serve --model model --port 70000;                   says 2 "--port 70000: 0 to 65535"
try serve --model model --queue 0;                      says 2 "--timeout and --queue 1 or more"
try serve --model model --token "";                     says 2 "--token is empty"
try serve --model model --host nowhere.invalid;         says 1 "--host nowhere.invalid" 2
try serve --model nowhere;                              says 1 "nowhere"
echo done
