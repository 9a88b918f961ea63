# What the scripts of servers have in common; it stands before each of them.
set -u

# A port of the loopback where nobody listens, below those that the kernel chooses by itself.
free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)); (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# Repeats a command until it succeeds, at most for twenty seconds.
wait_for() {
    for _ in {1..200}; do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "in vain: $*"
}

# Repeats a command for $LOAD seconds; it prints nothing where all is well. Its first word or failure ends the load.
load() {
    local end=$((SECONDS + LOAD)) said
    while ((SECONDS < end)); do
        if ! said=$("$@" 2>&1) || [ -n "$said" ]; then
            printf 'under load: %s\n' "$said"
            return 1
        fi
    done
    echo 'no error under load'
}
