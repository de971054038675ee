# Roots as a new machine has them: `. tests/clean_root.sh`. Made by mmdebstrap of the packages that Debian calls required, and apt; the
# first is kept as $KEDGE_CLEAN_ROOT (default build/clean-root.tar) and unpacked for the others.
clean_root_tar=$(realpath -m "${KEDGE_CLEAN_ROOT:-build/clean-root.tar}")

# can_make_roots: says "skipped: ..." and fails where there can be none
can_make_roots() {
    local why= suite
    suite=$(. /etc/os-release 2>/dev/null && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}")
    [ ! -s "$clean_root_tar" ] || return 0
    mkdir -p "$(dirname "$clean_root_tar")"
    if [ "$(id -u)" -ne 0 ]; then why="only root makes one"
    elif [ -z "$suite" ]; then why="this is not Debian"
    elif ! command -v mmdebstrap >/dev/null && ! KEDGE_MORE_PACKAGES=mmdebstrap tools/deps >"$home/log" 2>&1; then
        why="mmdebstrap is not to be had"
    elif ! mmdebstrap --quiet --variant=apt --format=tar "$suite" "$clean_root_tar.tmp" >"$home/log" 2>&1; then
        why="mmdebstrap: $(grep -E '^E:' "$home/log" | head -n 1)"
        rm -f "$clean_root_tar.tmp"
    else mv "$clean_root_tar.tmp" "$clean_root_tar"
    fi
    [ -n "$why" ] || return 0
    echo "skipped: $1 in a clean root: $why"
    return 1
}

# clean_root FOLDER: a new one; it resolves names and trusts what this machine trusts
clean_root() {
    mkdir -p "$1" && tar -xf "$clean_root_tar" -C "$1" || return 1
    cp -L /etc/resolv.conf "$1/etc/resolv.conf"
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        mkdir -p "$1/usr/local/share/ca-certificates"
        cp -L /etc/ssl/certs/ca-certificates.crt "$1/usr/local/share/ca-certificates/of-the-host.crt"
    fi
    [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$1/etc/"
    inside "$1" 'apt-get update -q'
}

# inside FOLDER 'COMMANDS': as root there, until one fails; nothing of this machine's environment but a proxy
inside() {
    local keep=() name
    for name in http_proxy https_proxy no_proxy; do [ -z "${!name:-}" ] || keep+=("$name=${!name}"); done
    unshare --mount --pid --fork --mount-proc="$1/proc" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "${keep[@]}" chroot "$1" /bin/bash -euo pipefail -c "cd; $2"
}
# apt_install FOLDER PACKAGE...
apt_install() { inside "$1" "apt-get install -q -y --no-install-recommends ${*:2}"; }
