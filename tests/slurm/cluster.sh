#!/usr/bin/env bash
# A SLURM cluster of two nodes on this machine, for tests: cluster.sh start|stop|stop-controller|start-controller FOLDER
#
# Needs root, and the Debian packages slurm-wlm and munge. Everything it writes lies in FOLDER, but for the link
# /etc/slurm/slurm.conf by which clients find the cluster (jobs do not hand SLURM_CONF on to their steps); a file that is
# there already is left alone and ends the script. Only processes that it has started are stopped, by their numbers. No
# accounting: sacct has nothing to ask, as on many small clusters.
set -euo pipefail

main() {
    local verb=$1
    folder=$(realpath -m "$2")
    config=/etc/slurm/slurm.conf
    case $verb in
    start)
        [ ! -e "$config" ] || { echo "there is a $config already" >&2; exit 1; }
        mkdir -p "$folder"/{state,spool,munge,log}
        write_config
        mkdir -p "${config%/*}"
        ln -s "$folder/slurm.conf" "$config"
        ln -sf "$folder/gres.conf" "${config%/*}/gres.conf"
        start_munge
        start_controller
        start_nodes
        ;;
    stop)
        scancel --user "$(id -un)" || true
        for _ in $(seq 50); do [ -n "$(squeue --noheader 2>/dev/null)" ] || break; sleep 0.2; done
        stop_jobs
        for name in node1 node2 controller munge; do stop_one "$name"; done
        if [ "$(readlink "$config")" = "$folder/slurm.conf" ]; then rm "$config" "${config%/*}/gres.conf"; fi
        ;;
    start-controller) start_controller ;;
    stop-controller) stop_one controller ;;
    start-node) start_node "$3" ;;
    stop-node) stop_one "$3" ;;
    *)
        echo "cluster.sh start|stop|start-controller|stop-controller|start-node|stop-node FOLDER [NODE]" >&2
        exit 2
        ;;
    esac
}

# A job of a node that went down lives on, and the controller does not know it any more.
stop_jobs() {
    local environ
    for environ in /proc/[0-9]*/environ; do
        if grep -qsz '^SLURM_WORKING_CLUSTER=tilewright:127.0.0.1:17817:' "$environ"; then
            kill -KILL "$(basename "$(dirname "$environ")")" 2>/dev/null || true
        fi
    done
}

write_config() {
    # a node with two devices: slurmd asks for device files and numbers them
    for number in 0 1; do [ -e "$folder/gpu$number" ] || mknod "$folder/gpu$number" c 1 3; done
    cat >"$folder/gres.conf" <<END
NodeName=node1 Name=gpu Type=fake File=$folder/gpu[0-1]
END
    cat >"$folder/slurm.conf" <<END
ClusterName=tilewright
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=17817
# requeued jobs wait until their credentials have expired: seconds instead of two minutes
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/controller.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/log/controller.log
SlurmdLogFile=$folder/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
KillWait=20
InactiveLimit=0
OverTimeLimit=0
MinJobAge=600
# what the nodes have is what is written here, not what the machine has
SlurmdParameters=config_overrides
NodeName=node1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17821 CPUs=8 RealMemory=64000 Gres=gpu:fake:2
NodeName=node2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17822 CPUs=8 RealMemory=64000
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
END
}

start_munge() {
    dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
    chmod 700 "$folder/munge"
    chmod 600 "$folder/munge/key"
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge.pid" \
        --log-file="$folder/log/munge.log" --seed-file="$folder/munge/seed" 2>"$folder/log/munge.start"
    wait_for "munged" test -S "$folder/munge/socket"
}

start_controller() {
    slurmctld
    wait_for "slurmctld" scontrol ping
}

start_nodes() {
    start_node node1
    start_node node2
}

start_node() {
    slurmd -N "$1"
    wait_for "slurmd" is_ready "$1"
}

is_ready() {
    sinfo --noheader --nodes "$1" --format %T | grep --quiet --extended-regexp '^(idle|mixed|allocated)$'
}

stop_one() {
    local file=$folder/$1.pid pid
    [ -s "$file" ] || return 0
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$pid"
}

wait_for() {
    local what=$1
    shift
    for _ in $(seq 150); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    echo "$what does not answer; see $folder/log" >&2
    return 1
}

main "$@"
