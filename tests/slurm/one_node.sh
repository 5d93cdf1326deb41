#!/bin/sh
# A whole Slurm on this machine, for tests: its own munge, controller and node, all in one folder. Needs root, slurm-wlm and munge.
#
#   one_node.sh start DIR    starts it and prints what to export to talk to it
#   one_node.sh stop DIR     ends what was started from DIR, by the process ids kept there
set -eu

start() {
    dir=$1
    host=$(hostname -s)
    mkdir -p "$dir/state" "$dir/spool" "$dir/log"
    chmod 755 "$dir"
    /usr/sbin/mungekey --create --force --keyfile="$dir/munge.key"
    /usr/sbin/munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed"
    cat >"$dir/slurm.conf" <<CONF
ClusterName=one-node
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
SlurmctldPort=${FUSION_SLURM_PORT:-16817}
SlurmdPort=$((${FUSION_SLURM_PORT:-16817} + 1))
# A job that is put back into the queue waits until its credential has expired: seconds here, two minutes by default.
AuthInfo=socket=$dir/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
KillWait=30
NodeName=$host CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF="$dir/slurm.conf"
    /usr/sbin/slurmctld -f "$SLURM_CONF" -c
    /usr/sbin/slurmd -f "$SLURM_CONF" -c
    tries=0
    until sinfo --noheader --format=%T 2>/dev/null | grep -q idle; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || { echo "the node did not come up; see $dir/log" >&2; exit 1; }
        sleep 1
    done
    echo "SLURM_CONF=$SLURM_CONF"
}

stop() {
    dir=$1
    for name in slurmd slurmctld munged; do
        [ -f "$dir/$name.pid" ] && kill "$(cat "$dir/$name.pid")" 2>/dev/null || true
    done
}

case ${1:-} in
start | stop) "$1" "$2" ;;
*) echo "usage: $0 start|stop DIR" >&2; exit 2 ;;
esac
