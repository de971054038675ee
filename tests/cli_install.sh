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
grep NEEDED "$home/log" | sed -E 's/.*\[(.*)\.so.*/\1/' | grep -vxE 'lib[cm]|ld-linux.*' | sort >"$home/found"
printf '%s\n' libjansson libpcre2-8 libutf8proc libxxhash libzstd | grep -vxF "$(grep -q 'NEEDED.*xxhash' "$home/log" || echo libxxhash)" >"$home/wanted"
same "$home/wanted" "$home/found" "it needs the C library and these alone"

# A program in C, found in four ways: the same lines.
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
