# stress_ng.sh SECONDS STRESSOR...: each stressor alone, one instance, verified; a line "verdict STRESSOR WORD" for each.
# What it takes of memory and disk is bounded by its own option where it has one.
set -u
seconds=$1
shift
for stressor in "$@"; do
    bound=()
    case $stressor in
        fallocate | hdd | iomix | malloc | memfd | memrate | mmap | mremap | msync | readahead | revio | sync-file | vm | vm-rw)
            bound=("--$stressor-bytes" 16M) ;;
        shm | shm-sysv) bound=("--$stressor-bytes" 1M) ;;
        copy-file) bound=(--copy-file-bytes 128M) ;;
        seek) bound=(--seek-size 16M) ;;
    esac
    # On the ptrace platform a thousand threads that open files one after the other take their time.
    case $stressor in
        loadavg | pthread) limit=300 ;;
        *) limit=30 ;;
    esac
    timeout -k 5 "$limit" stress-ng --verify --timeout "${seconds}s" --oomable --temp-path . "--$stressor" 1 "${bound[@]}" >said 2>&1
    status=$?
    if [ "$status" = 124 ] || [ "$status" = 137 ]; then word=hung
    elif grep -qE 'skipp|not implemented' said; then word=skipped
    # Some say what failed, end early and call it a success.
    elif grep -qE 'fail:|finished prematurely' said; then word=failed
    elif [ "$status" = 0 ]; then word=passed
    elif [ "$status" = 3 ] || [ "$status" = 4 ]; then word="skipped $status"
    else word="failed $status"
    fi
    echo "verdict $stressor $word"
    [ "$word" = passed ] || cat said
done
