#!/usr/bin/env bash
# Money transferred in PostgreSQL, and told of in a topic: half messages of odradek/kafkajs beside a real database. Brings up a PostgreSQL of its
# own in the cache (installed where there is none).
. "$(dirname "$0")/../lib/suite.sh"
suite_args "$@"; need node; need npm

pg_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
PG_BIN=$(pg_bin)
if [ -z "$PG_BIN" ] && command -v initdb >/dev/null; then PG_BIN=$(dirname "$(command -v initdb)"); fi
if [ -z "$PG_BIN" ]; then
  need apt-get
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  { $sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qy --no-install-recommends postgresql; } >&2 ||
    die "PostgreSQL could not be installed"
  PG_BIN=$(pg_bin)
fi

dir=$SUITE_CACHE/npm-pg-8.16.3
if [ ! -f "$dir/.ready" ]; then
  mkdir -p "$dir"
  (cd "$dir" && echo '{"private":true,"type":"module"}' >package.json && npm install --no-audit --no-fund pg@8.16.3) >&2
  touch "$dir/.ready"
fi
node "$SUITE_DIR/../../scripts/build.mjs" --if-stale >&2

# PostgreSQL does not run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
data=$(mktemp -d /tmp/odradek-postgres-XXXXXX)
[ "$(id -u)" != 0 ] || { id postgres >/dev/null 2>&1 || useradd --system postgres; chown postgres "$data"; }
cleanup() { as_postgres "$PG_BIN/pg_ctl" -D "$data/db" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$data"; }
trap cleanup EXIT
pg_port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
cd "$data"
as_postgres "$PG_BIN/initdb" -D "$data/db" -U postgres --auth=trust >"$RESULT.postgres.log" 2>&1 || { tail -5 "$RESULT.postgres.log" >&2; die "initdb failed"; }
as_postgres "$PG_BIN/pg_ctl" -D "$data/db" -w -t 60 -l "$data/log" \
  -o "-h 127.0.0.1 -p $pg_port -k $data -c fsync=on" start >>"$RESULT.postgres.log" 2>&1 || { cat "$data/log" >&2; die "PostgreSQL did not start"; }
echo "version PostgreSQL $("$PG_BIN/postgres" --version | grep -o '[0-9][0-9.]*' | head -1), pg 8.16.3"
PG_MODULES=$dir node "$SUITE_DIR/run.mjs" "$BROKER" "postgres://postgres@127.0.0.1:$pg_port/postgres" || true
