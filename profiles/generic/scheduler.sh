#!/bin/sh
# One place for the command lines of schedulers that Snakemake has no plugin for; profiles/generic calls it:
#   scheduler.sh submit RULE THREADS MEMORY_MB MINUTES GPUS JOBSCRIPT   prints the job's id alone
#   scheduler.sh status ID                                              prints running, success or failed
#   scheduler.sh cancel ID...
# EPOCHBENCH_SCHEDULER is slurm, lsf, sge or pbs; EPOCHBENCH_OPTIONS goes on every submit line (queue, account).
# Timing jobs have their node to themselves. The lines for slurm are tested; those for the others follow their manuals.
set -eu
scheduler=${EPOCHBENCH_SCHEDULER:-slurm}
options=${EPOCHBENCH_OPTIONS:-}
logs=results/logs/cluster
action=$1
shift

fail() {
    echo "scheduler.sh: $1" >&2
    exit 2
}

case $scheduler in
slurm | lsf | sge | pbs) ;;
*) fail "EPOCHBENCH_SCHEDULER is '$scheduler'; it must be slurm, lsf, sge or pbs" ;;
esac

submit() {
    rule=$1 threads=$2 memory=$3 minutes=$4 gpus=$5 script=$6
    mkdir -p "$logs"
    alone=no
    case $rule in train_* | calibrate_* | *_train_* | *_calibrate_*) alone=yes ;; esac # a module may give rules a prefix
    case $scheduler in
    slurm)
        [ "$alone" = no ] || options="$options --exclusive"
        [ "$gpus" = 0 ] || options="$options --gpus=$gpus"
        # shellcheck disable=SC2086 # options are words
        sbatch --parsable --job-name="$rule" --ntasks=1 --cpus-per-task="$threads" --mem="$memory" --time="$minutes" \
            --output="$logs/%j.log" $options "$script" | cut -d';' -f1
        ;;
    lsf)
        [ "$alone" = no ] || options="$options -x"
        [ "$gpus" = 0 ] || options="$options -gpu num=$gpus"
        # shellcheck disable=SC2086
        bsub -n "$threads" -R "span[hosts=1] rusage[mem=$memory]" -W "$minutes" -o "$logs/%J.log" $options "$script" |
            sed -n 's/^Job <\([0-9]*\)>.*/\1/p'
        ;;
    sge)
        [ "$alone" = no ] || options="$options -l exclusive=true"
        [ "$gpus" = 0 ] || options="$options -l gpu=$gpus"
        # shellcheck disable=SC2086
        qsub -terse -cwd -V -pe smp "$threads" -l "h_vmem=$((memory / threads + 1))M,h_rt=$((minutes * 60))" \
            -j y -o "$logs" $options "$script"
        ;;
    pbs)
        [ "$alone" = no ] || options="$options -l place=excl"
        # shellcheck disable=SC2086
        qsub -V -l "select=1:ncpus=$threads:mem=${memory}mb:ngpus=$gpus" -l "walltime=$((minutes * 60))" \
            -j oe -o "$logs/" $options "$script"
        ;;
    esac
}

state() {
    case $scheduler in
    slurm) scontrol --oneliner show job "$1" 2>/dev/null | sed -n 's/.* JobState=\([A-Z_]*\).*/\1/p' ;;
    lsf) bjobs -noheader -o stat "$1" 2>/dev/null ;;
    sge) if qstat -j "$1" >/dev/null 2>&1; then echo RUN; else qacct -j "$1" 2>/dev/null | awk '/^exit_status/ {print ($2 ? "EXIT" : "DONE")}'; fi ;;
    pbs) qstat -xf "$1" 2>/dev/null | awk -F' = ' '/job_state/ {s = $2} /Exit_status/ {e = $2} END {print (s == "F" ? (e ? "EXIT" : "DONE") : s)}' ;;
    esac
}

case $action in
submit)
    id=$(submit "$@") || id=
    [ -n "$id" ] ||
        fail "$scheduler did not take $1 with $2 cores (cluster.cpu_cores, cluster.gpu_cores), $3 MB (cluster.memory_mb), $4 minutes (cluster.runtime_minutes), $5 GPUs (a cell's processes) and EPOCHBENCH_OPTIONS='$options'"
    echo "$id"
    ;;
status)
    case $(state "$1") in
    COMPLETED | DONE) echo success ;;
    PENDING | CONFIGURING | RUNNING | COMPLETING | SUSPENDED | REQUEUED | RESIZING | PEND | RUN | *SUSP | WAIT | Q | R | H | W | E | S) echo running ;;
    *) echo failed ;; # cancelled, timed out, out of memory, or forgotten by the scheduler
    esac
    ;;
cancel)
    case $scheduler in
    slurm) scancel "$@" ;;
    lsf) bkill "$@" ;;
    sge | pbs) qdel "$@" ;;
    esac
    ;;
*) fail "unknown action '$action'" ;;
esac
