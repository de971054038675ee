#!/bin/bash
# A release as its users get it: Debian packages made twice, looked at by lintian, installed in a root of their own and tried there; the
# tarball, built and installed in another by `make install`, with the Python package. Usage: make check-release, or tests/release.sh
# One line a fact, "ok N" or "not ok N"; "skipped: what" for what cannot be tried; "done" at the end.
set -u
home=$(mktemp -d)
trap 'rm -rf --one-file-system "$home"' EXIT
unset MAKEFLAGS MAKELEVEL MFLAGS
. tests/clean_root.sh

n=0
ok() { n=$((n + 1)); if [ "$1" -eq 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; tail -n 30 "$home/log"; fi; }
leave() { echo "skipped: $1"; echo done; exit 0; }
# there ROOT "fact" 'COMMANDS': these succeed inside
there() { inside "$1" "$3" >"$home/log" 2>&1; ok $? "$2"; }

git rev-parse -q --verify HEAD >/dev/null 2>&1 || leave "a release: it is made of a commit, and this is no git repository"
commit=$(git rev-parse HEAD)
tools/dist "$home" >"$home/log" 2>&1; ok $? "make dist"
tarball=$(ls "$home"/kedge-*.tar.gz) name=$(basename "$tarball" .tar.gz) version=${name#kedge-}

# What both ways of installing give.
cat >"$home/try.sh" <<TRY
says() { echo "\$1: wanted \$2, found \$3"; [ "\$2" = "\$3" ]; }
says version "kedge $version" "\$(kedge --version | head -n 1)"
says commit ${commit:0:12} "\$(kedge --version --json | sed -n 's/.*"commit": "\([^"]*\)".*/\1/p')"
mkdir work && cd work
kedge init model --preset demo --seed 1
for i in 1 2 3 4; do printf '{"text": "%s"}\n' "\$(seq -s ' ' \$i \$((i * 500)))"; done >text.jsonl
cat >run.yaml <<'YAML'
model: {path: model}
tokenizer: bytes
data: {train: [text.jsonl]}
window: 256
mask: anchor
steps: 2
output: out
YAML
kedge train run.yaml
[ -s out/step-2/model.safetensors ]
kedge info out/step-2
man -P cat kedge-train >page
grep '^SYNOPSIS' page
grep -q 'complete .* kedge' \$(find /usr -path '*bash-completion/completions/kedge')
TRY
cat >"$home/program.sh" <<'TRY'
cd work
cc -Wall -Wextra -Werror "$examples/attention.c" -o attention $(pkg-config --cflags --libs kedge) -lm
readelf -d attention | grep 'NEEDED.*libkedge'
./attention >c.txt
grep 'document 1 has the same bits, document 2 changed, document 3 has the same bits' c.txt
python3 "$examples/attention.py" | diff c.txt -
TRY
jobs=${JOBS:-$(nproc)}
plan='import kedge; plan = kedge.Plan.of([[5, 6, 7], [8, 9]], mask="anchor", bos=1); assert (plan.T, plan.N) == (6, 2), plan.T'

# ---- the packages -----------------------------------------------------------------------------------------------------------------

packages() {
    command -v dpkg-deb >/dev/null || { echo "skipped: Debian packages: this is not Debian"; return; }
    local options=parallel=$jobs package differ=0 root=$home/deb
    if ! DEB_BUILD_OPTIONS=$options tools/deb "$tarball" "$home/debs" >"$home/log" 2>&1; then
        if grep -q '^deps:' "$home/log"; then echo "skipped: Debian packages: $(grep '^deps:' "$home/log" | tail -n 1)"
        else ok 1 "make deb"
        fi
        return
    fi
    ok 0 "make deb, its tests with it"
    (umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8 DEB_BUILD_OPTIONS="$options nocheck" tools/deb "$tarball" "$home/again") >"$home/log" 2>&1
    for package in "$home"/debs/*.deb; do
        cmp "$package" "$home/again/$(basename "$package")" >>"$home/log" 2>&1 || differ=1
    done
    ok $differ "built again in another folder, umask, time zone and locale they are the same bytes"
    if command -v lintian >/dev/null || KEDGE_MORE_PACKAGES=lintian tools/deps >"$home/log" 2>&1; then
        # What it says of the maintainer's address, which is whoever's who uploads, is left to them.
        lintian --fail-on error --allow-root --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog "$home"/debs/*.changes \
            >"$home/log" 2>&1
        ok $? "lintian finds no error"
    else
        echo "skipped: lintian is not to be had"
    fi

    can_make_roots "the packages" || return
    clean_root "$root" >"$home/log" 2>&1; ok $? "a clean root"
    mkdir "$root/debs" && cp "$home"/debs/*.deb "$root/debs" && rm -f "$root"/debs/*-dbgsym_*
    cp "$home"/*.sh "$root/root/"
    apt_install "$root" /debs/kedge_*.deb >"$home/log" 2>&1; ok $? "kedge and what it needs"
    apt_install "$root" man-db >"$home/log" 2>&1
    there "$root" "the command: version, commit, init, two steps, manual page, completion" '. ./try.sh'
    apt_install "$root" '/debs/*.deb' gcc libc6-dev pkg-config python3 >"$home/log" 2>&1; ok $? "the libraries and a compiler"
    there "$root" "a program in C by pkg-config and one in Python by ctypes say the same" \
        'examples=/usr/share/doc/libkedge-dev/examples; . ./program.sh'
    there "$root" "python3-kedge: a plan" "python3 -c '$plan'"
    there "$root" "purged, they leave nothing behind" \
        'apt-get purge -q -y "*kedge*"; rm -r /debs work /var/cache/man; ! find / -xdev -iname "*kedge*" | grep .'
    rm -rf --one-file-system "$root"
}

# ---- the tarball ------------------------------------------------------------------------------------------------------------------

sources() {
    local root=$home/make
    can_make_roots "make install" || return
    clean_root "$root" >"$home/log" 2>&1; ok $? "another clean root"
    apt_install "$root" gcc make man-db pkg-config python3-venv >"$home/log" 2>&1; ok $? "a compiler and make, as the README asks"
    cp "$tarball" "$home"/*.sh "$root/root/"
    there "$root" "make install, from the tarball, without git" "tar -xzf $name.tar.gz; cd $name; make -j$jobs install; ldconfig"
    there "$root" "the command: version, commit, init, two steps, manual page, completion" '. ./try.sh'
    there "$root" "a program in C by pkg-config and one in Python by ctypes say the same" "examples=\$PWD/$name/examples; . ./program.sh"
    inside "$root" 'python3 -m venv venv; venv/bin/pip download -q -d /tmp "setuptools>=61"' >"$home/log" 2>&1 ||
        { echo "skipped: pip install ./python: no packages for Python are to be had"; return; }
    there "$root" "pip install ./python, and a plan by it" "cd $name; ~/venv/bin/pip install -q './python[numpy]'; cd; \
        venv/bin/python -c '$plan'"
    there "$root" "make uninstall leaves nothing behind" "cd $name; make uninstall; ! find /usr -iname '*kedge*' | grep ."
}

packages
sources
echo done
