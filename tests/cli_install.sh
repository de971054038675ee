#!/bin/bash
# What `make install` puts where, and that programs in C, CMake and Python find it. Usage: tests/cli_install.sh build/gcc
# One line a fact, "ok N" or "not ok N"; "done" at the end.
set -u
flavour=$(basename "$1")
compiler=${flavour%%-*}
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
unset MAKEFLAGS MAKELEVEL MFLAGS
export LC_ALL=C

n=0
ok() { n=$((n + 1)); if [ "$1" -eq 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; cat "$home/log"; fi; }
same() { diff -u "$1" "$2" >"$home/log" 2>&1; ok $? "$3"; }  # same FILE FILE "fact"
has() { command -v "$1" >/dev/null || { echo "skipped: $2: $1 is not installed"; return 1; }; }

if [ "$flavour" != "$compiler" ]; then
    echo "skipped: what is installed is the plain build"
    echo done
    exit 0
fi

prefix=$home/usr
make -s CC="$compiler" install PREFIX="$prefix" >"$home/log" 2>&1
ok $? "make install"
version=$(sed -n 's/.*KD_VERSION "\(.*\)"/\1/p' include/kedge.h)
abi=$(sed -n 's/^.define KD_ABI //p' include/kedge.h)
(cd "$prefix" && find . -not -type d | grep -v man1 | sort) >"$home/found"
cat >"$home/wanted" <<LIST
./bin/kedge
./include/kedge.h
./lib/cmake/kedge/kedge-config-version.cmake
./lib/cmake/kedge/kedge-config.cmake
./lib/libkedge.a
./lib/libkedge.so
./lib/libkedge.so.$abi
./lib/libkedge.so.$version
./lib/pkgconfig/kedge.pc
./share/bash-completion/completions/kedge
./share/fish/vendor_completions.d/kedge.fish
./share/zsh/site-functions/_kedge
LIST
same "$home/wanted" "$home/found" "exactly these files"
make -s CC="$compiler" install PREFIX=/opt/x DESTDIR="$home/stage" LIBDIR=/opt/x/lib64 >"$home/log" 2>&1 &&
    [ -e "$home/stage/opt/x/lib64/libkedge.so" ] && grep -q 'libdir=${prefix}/lib64' "$home/stage/opt/x/lib64/pkgconfig/kedge.pc" &&
    ! grep -rqI "$home" "$home/stage"
ok $? "DESTDIR is not written into any file"
! grep -rlF "$PWD" "$prefix" >"$home/log"; ok $? "nor is the folder it was built in"

# What the libraries show.
so=$prefix/lib/libkedge.so.$version
sed -nE 's/^KD_API .*[ *](kd_[a-z0-9_]+)\(.*/\1/p' include/kedge.h | sort >"$home/wanted"
nm -D --defined-only "$so" | awk '{ print $3 }' | sort >"$home/found"
same "$home/wanted" "$home/found" "the shared library exports the header's functions and nothing else"
nm -g --defined-only "$prefix/lib/libkedge.a" | awk 'NF == 3 { print $3 }' | sort >"$home/found"
same "$home/wanted" "$home/found" "so does the static one"
grep -E '^[a-z].*kd_[a-z0-9_]+\(' include/kedge.h | grep -v '^typedef' >"$home/log"
[ $? -eq 1 ]; ok $? "every function of the header is marked KD_API"
readelf -dW "$so" >"$home/log"
grep -q 'SONAME.*\[libkedge.so.'"$abi"'\]' "$home/log" && grep -qE 'FLAGS.*NOW' "$home/log" && ! grep -q TEXTREL "$home/log"
ok $? "its name, bound at once, no text relocations"
[ -z "$(grep NEEDED "$home/log" | grep -vE 'lib(c|m|jansson|zstd|xxhash|pcre2-8|utf8proc)\.so|ld-linux')" ]
ok $? "it needs the C library and what reads files"

# A model for the examples.
"$prefix/bin/kedge" init "$home/model" --preset tiny >"$home/log" 2>&1
ok $? "kedge init"
printf '%s\n' "a first text" "another one" "" "and the last of them" >"$home/texts"

# Programs in C, found in four ways: the same lines.
export LD_LIBRARY_PATH=$prefix/lib PKG_CONFIG_PATH=$prefix/lib/pkgconfig
warn="-std=c11 -Wall -Wextra -pedantic -Werror"
if has pkg-config "a program through pkg-config"; then
    [ "$(pkg-config --modversion kedge)" = "$version" ]; ok $? "pkg-config knows version $version"
    $compiler $warn examples/attention.c -o "$home/shared" $(pkg-config --cflags --libs kedge) -lm >"$home/log" 2>&1 &&
        readelf -d "$home/shared" | grep -q 'NEEDED.*libkedge' && "$home/shared" >"$home/wanted" 2>"$home/log"
    ok $? "a program with the shared library"
    grep -q 'document 1 has the same bits, document 2 changed, document 3 has the same bits' "$home/wanted"
    ok $? "documents do not see each other"
    $compiler $warn -static examples/attention.c -o "$home/static" $(pkg-config --static --cflags --libs kedge) >"$home/log" 2>&1 &&
        "$home/static" >"$home/found" 2>"$home/log"
    ok $? "a program with the static library"
    same "$home/wanted" "$home/found" "static and shared say the same"
    awk '/^    #include <kedge.h>/ { on = 1 } on && /^[^ ]/ { exit } on { sub(/^    /, ""); print } on && /^}/ { exit }' docs/c-api.md \
        >"$home/first.c"
    $compiler $warn "$home/first.c" -o "$home/first" $(pkg-config --cflags --libs kedge) >"$home/log" 2>&1 &&
        [ "$("$home/first" 2>&1)" = "kedge $version: 259 ids" ]
    ok $? "the first program of docs/c-api.md"
    for example in score pack_texts; do
        $compiler $warn examples/$example.c -o "$home/$example" $(pkg-config --cflags --libs kedge) -lm >"$home/log" 2>&1 &&
            $compiler $warn -static examples/$example.c -o "$home/static_$example" $(pkg-config --static --cflags --libs kedge) \
                >"$home/log" 2>&1
        ok $? "examples/$example.c, shared and static"
    done
    for with in "" static_; do
        "$home/${with}score" "$home/model" "kedge" bytes >"$home/${with}scored" 2>"$home/log" &&
            grep -qE '^ +[0-9.]+ +101  e$' "$home/${with}scored" && grep -qE '^5 tokens, perplexity 2[0-9][0-9]\.' "$home/${with}scored"
        ok $? "${with}score: five bytes behind BOS, of which the model knows nothing"
        "$home/${with}pack_texts" 16 <"$home/texts" >"$home/${with}packed" 2>"$home/log" &&
            grep -qF '  positions   1 to  12  "a first text"' "$home/${with}packed" &&
            grep -qF '  positions  13 to  15  "ano", to be continued' "$home/${with}packed"
        ok $? "${with}pack_texts: a document that crosses the window's end goes on in the next"
    done
    same "$home/scored" "$home/static_scored" "static and shared score alike"
    "$home/score" "$home" "kedge" >"$home/found" 2>"$home/log"
    [ $? -eq 1 ] && [ ! -s "$home/found" ] && [ "$(wc -l <"$home/log")" -eq 1 ]; ok $? "score: no model: one line says so"
    plus=${compiler/#gcc/g++} plus=${plus/#clang/clang++}
    if has "$plus" "a program in C++"; then
        cat >"$home/plus.cc" <<'PLUS'
#include <kedge.h>
#include <cstring>
int main() {
    kd_view view = kd_view_heads(nullptr, 3, 8);
    return std::strcmp(kd_version(), KD_VERSION) || view.token_stride != 24 || kd_struct_bytes("kd_attn") != sizeof(kd_attn);
}
PLUS
        "$plus" -std=c++17 -Wall -Wextra -pedantic -Werror "$home/plus.cc" -o "$home/plus" $(pkg-config --cflags --libs kedge) \
            >"$home/log" 2>&1 && "$home/plus"
        ok $? "a program in C++"
    fi
    python=${KEDGE_PYTHON:-python3}
    if "$python" -c 'import cffi' 2>/dev/null; then
        "$python" examples/cffi_attention.py "$prefix/include/kedge.h" "$prefix/lib/libkedge.so.$abi" >"$home/found" 2>"$home/log" &&
            [ "$(grep -c '^document' "$home/found")" -eq 2 ]
        ok $? "a program in Python through cffi, which reads the header itself"
    else
        echo "skipped: a program in Python through cffi: $python has no cffi"
    fi
    if has python3 "a program in Python"; then
        python3 examples/attention.py "$prefix/lib/libkedge.so.$abi" >"$home/found" 2>"$home/log"
        ok $? "a program in Python"
        same "$home/wanted" "$home/found" "Python and C say the same"
    fi
fi
if has cmake "a program through CMake"; then
    mkdir "$home/cmake"
    cat >"$home/cmake/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.10)
project(consumer C)
find_package(kedge 0.1 REQUIRED)
foreach(kind kedge static)
  add_executable(with_\${kind} $PWD/examples/attention.c)
  target_link_libraries(with_\${kind} kedge::\${kind} m)
endforeach()
find_package(kedge 99 QUIET)
if(kedge_FOUND)
  message(FATAL_ERROR "version 99 was found")
endif()
CMAKE
    mv "$prefix" "$home/moved"
    cmake -S "$home/cmake" -B "$home/cmake/build" -DCMAKE_C_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$home/moved" >"$home/log" 2>&1 &&
        cmake --build "$home/cmake/build" >"$home/log" 2>&1
    ok $? "a project through CMake, in a folder that was moved"
    for kind in kedge static; do
        LD_LIBRARY_PATH="" "$home/cmake/build/with_$kind" >"$home/found" 2>"$home/log" || cat "$home/log" >"$home/found"
        [ -e "$home/shared" ] && same "$home/wanted" "$home/found" "kedge::$kind says the same"
    done
    mv "$home/moved" "$prefix"
fi

# What the command says of itself.
kedge=$prefix/bin/kedge
[ "$("$kedge" --version | head -n 1)" = "kedge $version" ]; ok $? "kedge --version"
if has python3 "kedge --version --json"; then
    "$kedge" --version --json | python3 -c 'import json, sys; b = json.load(sys.stdin)
assert b["kedge"] == sys.argv[1] and b["cuda"] is False and b["instruction_set"] in b["instruction_sets"], b
assert {"commit", "compiler", "flags", "threads", "mpi"} <= b.keys() and {"jansson", "libyaml", "zstd", "xxhash"} <= b["libraries"].keys(), b
' "$version" 2>"$home/log"
    ok $? "kedge --version --json"
fi
commands=$("$kedge" --help | awk '/^more:$/ { exit } /^  [a-z]/ { print $1 }')
for page in "" $(sed 's/^/-/' <<<"$commands") -run-file -bench-attention -bench-gemm -bench-step; do
    file=$prefix/share/man/man1/kedge$page.1
    [ -s "$file" ] && ! grep -qE '^(usage:|examples:)' "$file"; ok $? "man kedge$page"
done
if has groff "the form of manual pages"; then
    groff -man -Tascii -ww -z "$prefix"/share/man/man1/*.1 >"$home/log" 2>&1
    [ ! -s "$home/log" ]; ok $? "manual pages: nothing to complain about"
fi

# completes WORD... : what bash offers for the last word, in one line
completes() {
    (source "$prefix/share/bash-completion/completions/kedge"; compopt() { :; }
     COMP_WORDS=("$kedge" "$@") COMP_CWORD=$#; _kedge; echo "${COMPREPLY[*]}")
}
# zsh, whose own part of it is replaced, and fish say the same.
cat >"$home/completes.zsh" <<'ZSH'
_describe() { [[ $1 == -o ]] && shift; local -a list=(${(P)2}); print -r -- ${${(M)list:#$PREFIX*}%%:*}$4 }
_files() { print files }
words=($kedge "$@") CURRENT=$(($# + 1)) PREFIX=${@[-1]}
source $function
ZSH
completes_zsh() { function=$prefix/share/zsh/site-functions/_kedge kedge=$kedge zsh -f "$home/completes.zsh" "$@"; }
completes_fish() {
    PATH=$prefix/bin:$PATH fish --no-config -c "source $prefix/share/fish/vendor_completions.d/kedge.fish; complete -C'kedge $*'" | cut -f 1
}
printf '%s\n' train gemm --resume optim.lr= --threads run-file ppl >"$home/wanted"
for shell in bash zsh fish; do
    has $shell "completion in $shell" || continue
    with=completes; [ $shell = bash ] || with=completes_$shell
    { $with tr; $with bench g; $with train run.yaml --r; $with train run.yaml --set optim.l; $with bench gemm --th; $with help run; $with help eval p; } >"$home/found" 2>&1
    same "$home/wanted" "$home/found" "$shell completes commands, options and keys"
done

make -s CC="$compiler" uninstall PREFIX="$prefix" >"$home/log" 2>&1
find "$prefix" -not -type d >"$home/log"
[ ! -s "$home/log" ]; ok $? "make uninstall leaves nothing behind"
echo done
