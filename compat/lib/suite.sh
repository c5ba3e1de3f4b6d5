# Shared by the clients' scripts (source it). POSIX tools, Go or Python, and nothing else. A script prints one line a check,
# `pass NAME`, `fail NAME` or `skip NAME`, and `version TEXT`; everything else goes to standard error.
#
#   SUITE_CACHE   where sources, builds and raw results go (COMPAT_CACHE, which the runner sets)
#   SUITE_NICE    niceness of what is run (10)
set -euo pipefail
SUITE_DIR=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
SUITE_NAME=$(basename "$SUITE_DIR")
SUITE_CACHE=${COMPAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/odradek-compat}
SHORT=; [ "${COMPAT_FORM:-long}" != short ] || SHORT=1
SUITE_NICE=${SUITE_NICE:-10}
mkdir -p "$SUITE_CACHE/results"
RESULT=$SUITE_CACHE/results/$SUITE_NAME

die() { echo "$SUITE_NAME: $*" >&2; exit 2; }
need() { command -v "$1" >/dev/null || die "$1 is not on the PATH"; }

# suite_args "$@" : BROKER, HOST, PORT and FILTER from the command line
suite_args() {
  [ $# -ge 1 ] && [ $# -le 2 ] || { echo "usage: $SUITE_NAME.sh BROKER_HOST:PORT [filter]" >&2; exit 2; }
  BROKER=$1 HOST=${1%:*} PORT=${1##*:} FILTER=${2:-}
  case $PORT in ''|*[!0-9]*) die "want HOST:PORT, got $1" ;; esac
  (exec 3<>"/dev/tcp/$HOST/$PORT") 2>/dev/null || die "nothing answers on $BROKER"
}

# go_module MODULE VERSION DEST : the module's source as a writable tree in DEST (module cache
# files are read-only). The proxy's zip holds the *_test.go files and testdata too.
go_module() {
  local mod=$1 version=$2 dest=$3 from
  [ -f "$dest/.ready" ] && return 0
  from=$(cd "$SUITE_CACHE" && GOFLAGS=-mod=mod go mod download -json "$mod@$version" |
         sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
  [ -n "$from" ] || die "the module proxy did not give $mod@$version"
  rm -rf "$dest"; mkdir -p "$dest"
  cp -r "$from/." "$dest/"; chmod -R u+w "$dest"
  touch "$dest/.ready"
}

# go_run NAME DIR PATTERN ARGS... : go test -json in DIR; the raw lines go to $RESULT.NAME.json.
# SUITE_SKIP, if set, is a pattern (on whole names) of tests to leave out.
# Tests of PATTERN that never came to run (a panic or a time-out before them) are added as begun.
go_run() {
  local name=$1 dir=$2 pattern=$3 t; shift 3
  (cd "$dir" && nice -n "$SUITE_NICE" go test -mod=mod -json -run "$pattern" \
    ${SUITE_SKIP:+-skip "^($SUITE_SKIP)\$"} "$@") \
    >"$RESULT.$name.json" 2>"$RESULT.$name.err" || true
  (cd "$dir" && go test -mod=mod -list "$pattern" "$@" 2>/dev/null) | { grep '^Test' || true; } | while read -r t; do
    { [ -n "${SUITE_SKIP:-}" ] && [[ $t =~ ^($SUITE_SKIP)$ ]]; } || grep -q "\"Test\":\"$t\"" "$RESULT.$name.json" ||
      echo "{\"Action\":\"run\",\"Package\":\"(not reached)\",\"Test\":\"$t\"}" >>"$RESULT.$name.json"
  done || true
}

# go_run_each NAME DIR PACKAGE SECONDS PATTERN SKIP ARGS... : every test of PATTERN but those of
# SKIP (both patterns on the whole name) in a process of its own, so that one panic or one hang
# costs one test only. Adds to $RESULT.NAME.json.
go_run_each() {
  local name=$1 dir=$2 pkg=$3 seconds=$4 pattern=$5 skip=$6 bin t; shift 6
  bin=$SUITE_CACHE/bin/$SUITE_NAME-$name-$$.test
  mkdir -p "$SUITE_CACHE/bin"; : >>"$RESULT.$name.json"
  (cd "$dir" && nice -n "$SUITE_NICE" go test -mod=mod -c -o "$bin" "$@" "$pkg") 2>"$RESULT.$name.err" || return 0
  for t in $(cd "$dir/$pkg" && "$bin" -test.list "$pattern" | grep '^Test'); do
    [ -z "$skip" ] || ! [[ $t =~ ^($skip)$ ]] || continue
    (cd "$dir/$pkg" && nice -n "$SUITE_NICE" "$bin" -test.run "^$t\$" -test.v=test2json -test.count=1 \
      -test.timeout "${seconds}s" 2>&1 || true) | go tool test2json -p "$pkg" >>"$RESULT.$name.json"
  done
  rm -f "$bin"
}

# go_summary FILES... : lists the failed tests, then the closing line. Counts leaves: a test
# with subtests counts through them; a test that began and never ended counts as failed, and
# so does a package that did not build or that ended before its first test.
go_summary() {
  local f
  for f in "$@"; do
    if ! grep -q '"Test":' "$f"; then
      echo "$SUITE_NAME: no test ran; the end of ${f%.json}.err and of $f:" >&2
      tail -n 20 "${f%.json}.err" >&2; tail -n 20 "$f" | sed -n 's/.*"Output":"\(.*\)".*/\1/p' >&2
      echo '{"Action":"fail","Package":"'"$SUITE_NAME"'","Test":"(build or start)"}' >>"$f"
    fi
  done
  rm -f "$RESULT.tests"
  cat "$@" | sed -n 's/.*"Action":"\(run\|pass\|fail\|skip\)","Package":"\([^"]*\)","Test":"\([^"]*\)".*/\1 \2 \3/p' |
    awk -v out="$RESULT.tests" '
      { k = $2 " " $3; for (i = 4; i <= NF; i++) k = k " " $i; if ($1 != "run" || !(k in r)) r[k] = $1 }
      END {
        for (k in r) { p = k; sub(/^[^ ]* /, "", p); pkg = substr(k, 1, length(k) - length(p))
          while (match(p, /\/[^\/]*$/)) { p = substr(p, 1, RSTART - 1); if ((pkg p) in r) parent[pkg p] = 1 } }
        for (k in r) if (!(k in parent)) print (r[k] == "run" ? "fail" : r[k]), k > out
      }'
  sort -o "$RESULT.tests" "$RESULT.tests"
  suite_summary "$RESULT.tests"
}

# suite_summary FILE : FILE has lines "pass|fail|skip NAME ..."
suite_summary() {
  cat "$1"
}

# py_venv NAME PACKAGES... : a virtual environment in the cache; sets PY. Installs once per list.
py_venv() {
  local dir=$SUITE_CACHE/venv-$1 want; shift; want="$*"
  PY=$dir/bin/python
  [ "$(cat "$dir/.packages" 2>/dev/null)" = "$want" ] && return 0
  [ -x "$PY" ] || python3 -m venv "$dir"
  "$PY" -m pip install -q --disable-pip-version-check "$@" >&2
  echo "$want" >"$dir/.packages"
}

# py_sdist PACKAGE VERSION DEST : the unpacked sdist from PyPI, its pure Python importable there
py_sdist() {
  local dest=$3 tmp=$SUITE_CACHE/sdist
  [ -f "$dest/.ready" ] && return 0
  mkdir -p "$tmp/$1-$2"; rm -rf "$dest"; mkdir -p "$dest"
  "$PY" -m pip download -q --disable-pip-version-check --no-deps --no-binary "$1" -d "$tmp/$1-$2" "$1==$2" >&2
  tar xzf "$tmp/$1-$2"/*.tar.gz -C "$dest" --strip-components=1
  touch "$dest/.ready"
}

# py_run DIR ARGS... : pytest in DIR, then the closing line. Keeps the output in $RESULT.log and
# one line a test in $RESULT.tests. An error in a fixture counts as a failure, xfail as a skip.
py_run() {
  local dir=$1; shift
  rm -f "$RESULT.xml" "$RESULT.tests"
  (cd "$dir" && nice -n "$SUITE_NICE" timeout "${TIMEOUT:-900}" "$PY" -m pytest -p no:cacheprovider -q -rA \
    --junitxml="$RESULT.xml" -o junit_family=xunit2 "$@") >"$RESULT.log" 2>&1 || true
  [ -s "$RESULT.xml" ] || { tail -30 "$RESULT.log" >&2; die "pytest gave no result; see $RESULT.log"; }
  "$PY" - "$RESULT.xml" >"$RESULT.tests" <<'PY'
import sys, xml.etree.ElementTree as ET
for case in ET.parse(sys.argv[1]).iter("testcase"):
    kinds = {child.tag for child in case}
    state = "fail" if kinds & {"failure", "error"} else "skip" if "skipped" in kinds else "pass"
    print(state, case.get("classname", "") + "." + case.get("name", ""))
PY
  sort -o "$RESULT.tests" "$RESULT.tests"
  suite_summary "$RESULT.tests"
}
