#!/bin/bash
# The tarball of `make dist`, and what keeps a build the same in another folder. Usage: tests/cli_dist.sh build/gcc
# One line a fact, "ok N" or "not ok N"; "done" at the end. tests/release.sh builds all of it.
set -u
flavour=$(basename "$1")
kedge=$(realpath "$1/kedge")
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
unset MAKEFLAGS MAKELEVEL MFLAGS
export LC_ALL=C

n=0
ok() { n=$((n + 1)); if [ "$1" -eq 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; cat "$home/log"; fi; }
same() { cmp "$1" "$2" >"$home/log" 2>&1; ok $? "$3"; }  # same FILE FILE "fact"
leave() { echo "skipped: $1"; echo done; exit 0; }

[ "$flavour" = "${flavour%%-*}" ] || leave "what is released is the plain build"
: >"$home/log"

# One version, wherever it is written.
version=$(sed -n 's/^#define KD_VERSION "\(.*\)"/\1/p' include/kedge.h)
agrees() { [ "$1" = "$version" ]; ok $? "the version of $2 is the header's"; }
agrees "$("$kedge" --version | sed -n '1s/^kedge //p')" "kedge --version"
agrees "$(sed -n 's/^## \([0-9.]*\) (.*/\1/p' CHANGELOG.md | head -n 1)" CHANGELOG.md
agrees "$(sed -n '1s/^kedge (\(.*\)-[0-9]*) .*/\1/p' debian/changelog)" debian/changelog
agrees "$(sed -n 's/^VERSION = "\(.*\)"/\1/p' python/src/kedge/_version.py)" "the Python package"
[ "$(sed -n 's/^#define KD_ABI //p' include/kedge.h)" = "$(sed -n 's/^Package: libkedge\([0-9]*\)$/\1/p' debian/control)" ]
ok $? "the Debian package of the shared library has its number"
[ "$(grep -c '(unreleased)$' CHANGELOG.md)" = "$(grep -c UNRELEASED debian/changelog)" ]
ok $? "CHANGELOG.md and debian/changelog agree on whether it is released"

# What a builder may say.
for flag in -ffast-math -Ofast -ffp-contract=fast; do
    ! make -n CFLAGS="-O2 $flag" build/gcc/kedge >"$home/log" 2>&1 && grep -q -- "$flag: leave it out" "$home/log"
    ok $? "$flag is refused by name"
done
make -n V=1 CFLAGS="-O2 -ffile-prefix-map=$PWD=. -g" CPPFLAGS=-DX -W src/cli/build_info.c "build/$flavour/src/cli/build_info.o" >"$home/log" 2>&1
grep -qF -- "-DKD_BUILD_FLAGS='\"-O2 -g\"' -DX " "$home/log"; ok $? "kedge --version does not name the folder it was built in"

git rev-parse -q --verify HEAD >/dev/null 2>&1 || leave "the tarball: it is made of a commit, and this is no git repository"
commit=$(git rev-parse HEAD) name=kedge-$version
if ! git diff --quiet HEAD -- include/kedge.h; then leave "the tarball: include/kedge.h is not committed"; fi

# The same bytes, whoever makes it.
make -s dist DIST="$home/here" >"$home/log" 2>&1; ok $? "make dist"
git clone -q . "$home/clone" 2>"$home/log"
(cd "$home/clone" && git checkout -q "$commit" && git config tar.umask 0077 && git config core.autocrlf true && umask 077 &&
    TZ=Asia/Tokyo GZIP=-1 make -s dist DIST="$home/there" >"$home/log" 2>&1)
same "$home/here/$name.tar.gz" "$home/there/$name.tar.gz" "another folder, umask, time zone and git configuration make the same bytes"
tar -tzf "$home/here/$name.tar.gz" | grep -v '/$' | sed "s|^$name/||" | sort >"$home/found"
git ls-tree -r --name-only "$commit" | sort >"$home/wanted"
same "$home/wanted" "$home/found" "the commit's files and no others"
[ "$(tar -tvzf "$home/here/$name.tar.gz" --numeric-owner --full-time --utc | awk '{ print $2, $4, $5 }' | sort -u)" = \
    "0/0 $(TZ=UTC git log -1 --date=format-local:'%Y-%m-%d %H:%M:%S' --format=%cd)" ]
ok $? "of nobody, of the commit's time"

# What comes out of it.
for folder in a longer/name; do
    mkdir -p "$home/$folder"
    tar -xzf "$home/here/$name.tar.gz" -C "$home/$folder"
    make -s -C "$home/$folder/$name" CC="$flavour" "build/$flavour/src/base/error.o" >"$home/log" 2>&1 || ok 1 "a file is compiled"
done
grep -qF "#define KD_COMMIT \"$commit\"" "$home/a/$name/src/cli/build_info.c"; ok $? "its source knows the commit"
same "$home"/{a,longer/name}/"$name/build/$flavour/src/base/error.o" "objects are the same in two folders, debugging information too"
! make -s -C "$home/a/$name" dist >"$home/log" 2>&1 && grep -q 'no git repository' "$home/log"; ok $? "make dist says that it needs git"
echo done
