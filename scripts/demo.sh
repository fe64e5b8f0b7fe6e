#!/usr/bin/env bash
# The demo: three daemons on this machine, a real tree, a cut link, edits on both sides, and the
# merge. `make run` builds the program first.
#
#   scripts/demo.sh [--once]
#
# With --once it ends by itself, with exit status 0 only if all three replicas came out the same;
# without, the daemons stay up until Ctrl-C. LEVERET_BIN names another program to run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

once=false
for argument in "$@"; do
    case $argument in
        --once) once=true ;;
        -h | --help)
            sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        *)
            echo "demo: there is no option $argument; --once is the only one" >&2
            exit 2
            ;;
    esac
done

bin=${LEVERET_BIN:-${CARGO_TARGET_DIR:-target}/release/leveret}
if [[ ! -x $bin ]]; then
    echo "demo: $bin is not there; build it with: cargo build --release --locked" >&2
    exit 1
fi
bin=$(realpath "$bin")
data=examples/data/iso-codes.json
names=(alder birch cedar)
# The variables of whoever runs this are not meant for these daemons.
unset LEVERET_API LEVERET_API_TOKEN LEVERET_LOG

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' plain=$'\e[0m'
    declare -A colour=([alder]=$'\e[32m' [birch]=$'\e[33m' [cedar]=$'\e[36m')
else
    bold='' plain=''
    declare -A colour=([alder]='' [birch]='' [cedar]='')
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/leveret-demo.XXXXXX")
declare -A daemon=() watcher=() api=()

clean_up() {
    local status=$? pid
    trap - EXIT INT TERM
    for pid in "${watcher[@]}" "${daemon[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${daemon[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

fail() {
    echo "demo: $1" >&2
    for name in "${names[@]}"; do
        if [[ -s $dir/$name.log ]]; then
            echo "--- the end of the log of $name" >&2
            tail -n 15 "$dir/$name.log" >&2
        fi
    done
    exit 1
}

# on NAME COMMAND...: runs a command of leveret against the daemon of that name.
on() {
    local name=$1 command=$2
    shift 2
    "$bin" "$command" --api "${api[$name]}" "$@"
}

# status_of NAME MEMBER
status_of() { on "$1" status | awk -v member="$2" '$1 == member { print $2 }'; }

# The same as `on`, and shows the command. A refusal is part of the show.
shown() {
    local name=$1
    printf '%s%-6s%s $ leveret %s\n' "${colour[$name]}" "$name" "$plain" "${*:2}"
    on "$@" >/dev/null || true
}

start() {
    local name=$1
    shift
    "$bin" serve --json --data "$dir/$name" --name "$name" \
        --listen 127.0.0.1:0 --api 127.0.0.1:0 "$@" >"$dir/$name.start" 2>"$dir/$name.log" &
    daemon[$name]=$!
    for _ in {1..300}; do
        [[ -s $dir/$name.start ]] && break
        kill -0 "${daemon[$name]}" 2>/dev/null || fail "$name did not start"
        sleep 0.1
    done
    api[$name]=$(sed -n 's/.*"api":"\([^"]*\)".*/\1/p' "$dir/$name.start")
    [[ -n ${api[$name]} ]] || fail "$name did not say where it listens"
    printf '%s%-6s%s %s\n' "${colour[$name]}" "$name" "$plain" "$(cat "$dir/$name.start")"
}

watch() {
    local name=$1 line
    "$bin" watch --api "${api[$name]}" 2>/dev/null > >(
        while IFS= read -r line; do
            printf '%s%-6s|%s %.200s\n' "${colour[$name]}" "$name" "$plain" "$line"
        done
    ) &
    watcher[$name]=$!
}

# Waits until every replica has what the others have.
all_together() {
    local round name heads
    for round in {1..20}; do
        for name in "${names[@]}"; do
            heads=$(status_of "$name" heads)
            for other in "${names[@]}"; do
                on "$other" wait --for "$heads" --timeout 60s || fail "$other did not catch up"
            done
        done
        [[ $(for name in "${names[@]}"; do status_of "$name" heads; done | sort -u | wc -l) == 1 ]] &&
            return
        sleep 0.2
    done
    fail "the replicas do not come together"
}

say "three daemons, one founds the cluster, two join it with a token"
start alder
start birch --join "$(on alder token --expires 10m)"
start cedar --join "$(on alder token --expires 10m)"
for name in "${names[@]}"; do
    for _ in {1..100}; do
        [[ $(on "$name" peers | grep -c '  connected') == 2 ]] && break
        sleep 0.1
    done
    watch "$name"
done

say "alder imports $data"
on alder import "$data"
all_together
say "all three have it: $(status_of cedar digest)"

say "birch is cut off"
on birch isolate on

# Some nodes that both sides work on, more than once.
mapfile -t languages < <(on alder tree /languages --depth 1 | awk 'NR > 1 && NR <= 41 { print $1 }')
mapfile -t groups < <(on alder tree /language_groups --depth 1 | awk 'NR > 3 && NR <= 13 { print $1 }')

# script NAME SEED: 50 saves as operation lines.
script() {
    local name=$1 i language other group
    RANDOM=$2
    echo "add /notes/$name"
    for i in {1..49}; do
        language=${languages[RANDOM % ${#languages[@]}]}
        other=${languages[RANDOM % ${#languages[@]}]}
        # The last step of a round is about the node that the one before it added.
        ((i % 7 == 6)) || group=${groups[RANDOM % ${#groups[@]}]}
        echo "---"
        case $((i % 7)) in
            0 | 1) echo "set /language_groups/$group touched_by \"$name\"" ;;
            2) echo "inc /language_groups/$group visits $i" ;;
            3) echo "add /notes/$name/n$i" && echo "set /notes/$name/n$i about \"$language\"" ;;
            4) echo "add /notes/shared-$((i / 7))" && echo "set /notes/shared-$((i / 7)) by \"$name\"" ;;
            5) echo "add /language_groups/$group/$name-$i" ;;
            6) echo "move /language_groups/$group/$name-$((i - 1)) /notes/$name/$other-$i" ;;
        esac
    done
}

say "edits on both sides at once"
{
    shown birch set /countries/TR name '"Türkiye, says birch"'
    shown alder set /countries/TR name '"Türkiye, says alder"' # the newer one stays
    shown birch mv /currencies /scripts/currencies
    shown alder mv /scripts /currencies/scripts # both cannot be: a cycle
    shown birch mv /former_countries/ANHH /countries/ANHH
    shown cedar rm /former_countries # what birch moved out of it lives
    shown birch mv /countries/IO /countries/SC/IO
    shown alder rm /countries/SC # what birch moved into it is handed back
    shown birch mv /language_groups/aav /language_groups/first
    shown cedar mv /language_groups/afa /language_groups/first # one name, two nodes
    shown birch add /countries/ATLANTIS
    shown alder add /countries/ATLANTIS # the same node
    shown birch set /countries/ATLANTIS sunk true
    shown alder set /countries/ATLANTIS visitors 12
    shown birch add /notes
    shown alder add /notes
}
all=()
for turn in alder:1 birch:2; do
    script "${turn%:*}" "${turn#*:}" >"$dir/${turn%:*}.ops"
    on "${turn%:*}" apply "$dir/${turn%:*}.ops" >"$dir/${turn%:*}.ids" 2>"$dir/${turn%:*}.refused" &
    all+=("$!")
done
for pid in "${all[@]}"; do wait "$pid" || true; done
for name in alder birch; do
    printf '%s%-6s%s %s scripted saves\n' "${colour[$name]}" "$name" "$plain" "$(wc -l <"$dir/$name.ids")"
    [[ -s $dir/$name.refused ]] && cat "$dir/$name.refused"
done
sleep 0.5
say "cut off, they differ"
for name in "${names[@]}"; do
    printf '%s%-6s%s %s\n' "${colour[$name]}" "$name" "$plain" "$(status_of "$name" digest)"
done

say "birch joins again"
on birch isolate off
all_together
sleep 0.3

say "what came of it"
on cedar get /countries/TR name
on cedar get /countries/ATLANTIS
on cedar tree / --depth 1
on cedar tree /language_groups --depth 1 | grep first || true

say "the three replicas"
printf '%-14s' ''
for name in "${names[@]}"; do printf ' %s%-32s%s' "${colour[$name]}" "$name" "$plain"; done
echo
for member in digest held clashes rewinds handed_back skipped; do
    printf '%-14s' "$member"
    for name in "${names[@]}"; do printf ' %-32s' "$(status_of "$name" "$member")"; done
    echo
done

result=0
for name in "${names[@]}"; do on "$name" tree --json >"$dir/$name.json"; done
if [[ $(for name in "${names[@]}"; do status_of "$name" digest; done | sort -u | wc -l) != 1 ]]; then
    echo "the digests differ" >&2
    result=1
fi
for name in birch cedar; do
    if ! cmp -s "$dir/alder.json" "$dir/$name.json"; then
        echo "the trees of alder and $name differ" >&2
        result=1
    fi
done
[[ $result == 0 ]] && say "the same everywhere, to the byte"

if $once; then
    exit "$result"
fi

say "look around; Ctrl-C ends the daemons"
for name in "${names[@]}"; do
    printf '%s%-6s%s export LEVERET_API=%s\n' "${colour[$name]}" "$name" "$plain" "${api[$name]}"
done
cat <<END
$bin tree /countries --depth 1
$bin get /countries/TR
$bin log --limit 10
$bin set /countries/TR note '"hello"'
$bin status
END
wait "${daemon[@]}"
