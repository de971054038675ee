#!/bin/bash
# Eight ranks on four hosts: network namespaces with names of their own, joined by a bridge. The same bits as on one rank, over TCP and
# MPI; and a host whose cable is pulled. All of it lives in namespaces of this script, which end with it. Usage: tests/cli_hosts.sh build/gcc
if [ "${KEDGE_HOSTS:-}" != inside ]; then
    case "$1" in *-address* | *-thread*) echo "skipped: several hosts: a sanitizer's runs are slow, and no different in this"; echo done; exit ;; esac
    reason=""
    if ! command -v ip >/dev/null || ! command -v unshare >/dev/null; then reason="no ip or unshare"
    elif ! unshare -mnpf --kill-child --mount-proc sh -c 'mount -t tmpfs none /run && ip netns add kn && ip link add kbr type bridge && ip link add kv type veth peer name eth0 netns kn' 2>/dev/null
    then reason="no network namespaces here (root is needed)"; fi
    if [ -n "$reason" ]; then echo "skipped: several hosts: $reason"; echo done; exit; fi
    KEDGE_HOSTS=inside exec timeout -k 5 280 unshare -mnpf --kill-child --mount-proc "$0" "$@"
fi
build=$(realpath "$1")
source_of=$PWD
. tests/command.sh
. "$source_of/tests/ranks.sh"
unset RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT

# ---- hosts 10.77.0.1 .. 4, two ranks each ----
# in_host I COMMAND: on host I. A host's name tells ranks, and Open MPI's daemons, who their neighbours are.
cat >in_host <<'SH'
#!/bin/sh
i=$1; shift
exec ip netns exec kn$i unshare -u sh -c 'hostname '"kn$i"'; exec "$@"' sh "$@"
SH
# what mpirun takes for ssh: options, an address, words of a command line
cat >agent <<SH
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do case \$1 in -o) shift 2 ;; *) shift ;; esac; done
i=\$((\${1##*.} - 1)); shift
exec $home/in_host \$i sh -c "\$*"
SH
chmod +x in_host agent
mount -t tmpfs none /run && mount -t sysfs none /sys
{ ip link set lo up && ip link add kbr type bridge && ip addr add 10.77.0.254/24 dev kbr && ip link set kbr up; } || exit 1
for i in 0 1 2 3; do
    ip netns add kn$i && ip link add kv$i type veth peer name eth0 netns kn$i && ip link set kv$i master kbr up &&
        ip -n kn$i addr add 10.77.0.$((i + 1))/24 dev eth0 && ip -n kn$i link set eth0 up && ip -n kn$i link set lo up || exit 1
    echo "10.77.0.$((i + 1)) slots=2" >>hosts
done

# eight HOW ARGUMENTS: 2 ranks on each host in the background, each with its output
eight() {
    local how=$1 r; shift
    rm -f err.*
    pids=()
    if [ "$how" = tcp ]; then
        for r in 0 1 2 3 4 5 6 7; do
            RANK=$r WORLD_SIZE=8 MASTER_ADDR=10.77.0.1 MASTER_PORT=29500 timeout 100 ./in_host $((r / 2)) "$kedge" "$@" >out.$r 2>err.$r & pids+=($!)
        done
        return
    fi
    local launcher
    case ${mpi[0]} in
    *openmpi) launcher=(mpirun.openmpi --mca plm_rsh_agent "$home/agent" --mca oob_tcp_if_include 10.77.0.0/24 --mca btl_tcp_if_include 10.77.0.0/24
                        --mca btl self,vader,tcp --mca pml ob1 --hostfile hosts) ;;
    *) launcher=(mpirun.mpich -launcher ssh -launcher-exec "$home/agent" -iface kbr -hosts 10.77.0.1,10.77.0.2,10.77.0.3,10.77.0.4 -ppn 2
                 -genv UCX_NET_DEVICES eth0 -genv UCX_TLS tcp,self) ;;
    esac
    timeout -k 5 100 "${launcher[@]}" -n 8 "$kedge" "$@" >out 2>err.0 & pids=($!)
}

# Eight heads, for eight ranks a window.
try train run.yaml --set steps=1 --set output=runs/seed
sed -E 's/("num_attention_heads": *)[0-9]+/\18/; s/("head_dim": *)[0-9]+/\18/' runs/seed/step-1/config.json >config.json
sed -i 's/^model:.*/model: {init: {config: config.json, seed: 1}}/' run.yaml
try train run.yaml
ok $code "a run on one rank"
whole=$(sum runs/one/step-10)

ways=(tcp)
[ ${#mpi[@]} -gt 0 ] && ways+=(mpi)
for way in "${ways[@]}"; do
    if [ $way = mpi ] && [ "${mpi[0]}" = mpirun.mpich ]; then
        echo "skipped: several hosts by MPICH: 4.0.2 over UCX's TCP does its work, and does not come out of MPI_Finalize"
        continue
    fi
    for layout in "8 1" "4 2" "2 4"; do
        read -r s d <<<"$layout"
        [ $way = mpi ] && [ $s = 2 ] && continue
        before=$(cat /sys/class/net/kv3/statistics/tx_bytes) start=$(now)
        eight $way train run.yaml --set parallel.sequence=$s --set parallel.data=$d --log-ranks --set output=runs/$way-$s-$d; ended
        [ $code -eq 0 ] && same runs/$way-$s-$d; ok $? "$way: 4 hosts, $s ranks a window times $d: the bits of one rank ($(since $start) s, $((($(cat /sys/class/net/kv3/statistics/tx_bytes) - before) >> 10)) KiB to the last host)"
    done
    [ "$(grep -Eo 'rank . of 8, . of 2 on its host' err | sort | cut -d' ' -f5 | tr -d '\n')" = 01010101 ]; ok $? "$way: each rank knows its place on its host"
done

# ---- a cable is pulled ----
for way in "${ways[@]}"; do
    eight $way train run.yaml --set parallel.sequence=4 --set parallel.data=2 --set parallel.deadline=5 --set steps=100000 --set save.every=5 \
        --set eval.every=0 --set output=runs/$way-cut
    wait_step runs/$way-cut 11
    start=$(now)
    ip link set kv2 down
    if [ $way = tcp ]; then
        ended
        took=$(since $start)
        [ "$codes" = "75 75 75 75 75 75 75 75 " ] && [ "${took%.*}" -lt 20 ]; ok $? "tcp: a host is cut off, with a deadline of 5 s: every rank, on both sides, ends with 75, after $took s ($codes)"
    else
        for _ in $(seq 200); do grep -q 'gives up' err.0 && break; sleep 0.05; done
        took=$(since $start)
        # MPI_Abort may hang, for 10 s; a launcher waits for its lost daemon for ever.
        for _ in $(seq 300); do pgrep -x kedge >/dev/null || break; sleep 0.05; done
        ! pgrep -x kedge >/dev/null; ok $? "mpi: a host is cut off, with a deadline of 5 s: every rank has ended after $(since $start) s"
        kill "${pids[0]}" 2>/dev/null; sleep 0.2; kill -KILL "${pids[0]}" 2>/dev/null
        ended
    fi
    grep -Eq 'rank [0-7] of 8: [a-z ]+[0-9]* ?.*\(move [0-9]+\): (nothing from|not all was taken by) rank [0-7] after 5 s' err; ok $? "$way: named are the rank, the move, and who did not come ($took s)"
    ip link set kv2 up
    last=$(ls runs/$way-cut | grep -oE '^step-[0-9]+$' | sort -V | tail -1) next=$((${last#step-} + 1))
    ranks tcp 2 train run.yaml --set parallel.sequence=2 --set steps=$next --set output=runs/$way-cut --resume
    rm -rf runs/straight
    try train run.yaml --set steps=$next --set output=runs/straight
    [ "$(sum runs/$way-cut/step-$next)" = "$(sum runs/straight/step-$next)" ]; ok $? "$way: goes on from $last on two ranks of one host, to the bits of an undisturbed run"
done
echo done
