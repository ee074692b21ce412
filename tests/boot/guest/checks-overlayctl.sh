# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of overlayctl, in images with all of Python. Each is called as check_NAME ARGUMENT under `set -e`.
STATUS=/run/boot-test.status

# quiet WHAT: nothing was said on standard error.
quiet() {
    [ ! -s "$STATUS.errors" ] || die "$1 says: $(cat "$STATUS.errors")"
}

# status-exits:STATUS or status-exits:STATUS:PATH, as text and as JSON; both are kept for the checks below
check_status_exits() {
    rm -f "$STATUS.json" "$STATUS.text"
    set -- "${1%%:*}" "$(printf '%s' "$1" | sed 's/^[^:]*:*//')"
    for form in json text; do
        [ $form = json ] && option=--json || option=--color=never
        status=0
        overlayctl status "$option" ${2:+"$2"} > "$STATUS.$form" 2> "$STATUS.errors" || status=$?
        quiet "overlayctl status $option"
        same "exit status of overlayctl status $option" "$1" "$status"
    done
}

# status-has:FIELD=VALUE, of /var, FIELD as in backing.label; a value that is not text is written as in JSON
check_status_has() {
    python3 -IB - "$STATUS.json" "${1%%=*}" "${1#*=}" << 'EOF'
import json, sys

path, field, wanted = sys.argv[1:]
with open(path) as stream:
    status = json.load(stream)
found = next((directory for directory in status["directories"] if directory["where"] == "/var"), None)
if found is None:
    sys.exit("status has no /var")
for name in field.split("."):
    found = found[int(name) if isinstance(found, list) else name]
text = found if isinstance(found, str) else json.dumps(found)
if text != wanted:
    sys.exit(f"{field}: wanted '{wanted}', found '{text}'")
EOF
}

# status-tells:TEXT, to a person; a dot stands for any character
check_status_tells() {
    grep --quiet -e "$1" "$STATUS.text" || die "no '$1' in: $(cat "$STATUS.text")"
}

# status-measures-space: what does not change meanwhile is as df has it
check_status_measures_space() {
    numbers=$(df --block-size=1 --output=size,itotal "$BACKING" | tail -n 1)
    check_status_has "space.size=$(printf '%s\n' "$numbers" | awk '{ print $1 }')"
    check_status_has "space.inodes=$(printf '%s\n' "$numbers" | awk '{ print $2 }')"
    awk '/"percent"/ { exit !($2 + 0 > 0 && $2 + 0 < 95) }' "$STATUS.json" || die "$(grep percent "$STATUS.json")"
}

# changes KIND PATH: how many such lines there are.
changes() {
    overlayctl diff --json > "$STATUS.diff" 2> "$STATUS.errors" || die "overlayctl diff failed: $(cat "$STATUS.errors")"
    quiet 'overlayctl diff'
    [ -s "$STATUS.diff" ] || die "overlayctl diff names nothing at all"
    grep -c "^{\"kind\": \"$1\", \"path\": \"$2\"[,}]" "$STATUS.diff" || true
}

# diff-names:KIND:PATH
check_diff_names() {
    same "lines of overlayctl diff on $1" 1 "$(changes "${1%%:*}" "${1#*:}")"
}

# diff-leaves-out:PATH, whatever was done to it
check_diff_leaves_out() {
    same "lines of overlayctl diff on $1" 0 "$(changes '[a-z]*' "$1")"
}

# metrics-have:NAME=VALUE, of /var, in the file that overlay-metrics.timer has written soon after the boot
check_metrics_have() {
    for _ in $(seq 240); do
        [ ! -e /run/node-exporter/overlay.prom ] || break
        sleep 0.25
    done
    same 'mode of overlay.prom' 644 "$(stat -c %a /run/node-exporter/overlay.prom)"
    name="overlay_${1%%=*}{directory=\"/var\"}"
    same "$name" "$name ${1#*=}" "$(grep -F "$name " /run/node-exporter/overlay.prom)"
}

# reset-is-staged:GLOB, of everything except what matches
check_reset_is_staged() {
    overlayctl reset --keep "$1" > "$STATUS.reset" 2> "$STATUS.errors" || die "it failed: $(cat "$STATUS.errors")"
    quiet 'overlayctl reset'
    same 'what is staged' "all keep $1" "$(tr '\n' ' ' < "$BACKING/reset" | sed 's/ $//')"
}
