#!/usr/bin/env bash
# A real Spark standalone cluster on the loopback interface: one master and several worker processes from the pyspark wheel.
# For development and tests: it shows that the edge scales out, on one machine.
# Usage: deploy/spark/cluster.sh start|stop|status [--workers N] [--cores N] [--memory SIZE] [--port N] [--folder DIR]
set -euo pipefail
umask 077  # what a worker writes is readable by its own account only
# A daemon must not keep open what its starter had open: a lock, the end of a pipe.
for handle in /proc/$$/fd/*; do
  handle=${handle##*/}
  if [ "$handle" -gt 2 ] && [ "$handle" -lt 255 ]; then eval "exec $handle>&-"; fi
done

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
act=${1:-}
workers=2 cores=1 memory=2g executor_memory=1g port=7077 folder=$root/var/cluster
say() { printf '%s\n' "$*" >&2; }
usage() { sed -n '4s/^# //p' "$0" >&2; exit 2; }
[ $# -gt 0 ] && shift
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case "$1" in
    --workers) workers=$2 ;;
    --cores) cores=$2 ;;
    --memory) memory=$2 ;;
    --port) port=$2 ;;
    --folder) folder=$2 ;;
    *) usage ;;
  esac
  shift 2
done
case "$workers$cores$port" in *[!0-9]*) usage ;; esac
python=${PYTHON:-$root/.venv/bin/python}

pid_of() { cat "$folder/$1.pid" 2>/dev/null || true; }
runs() { # the recorded process is there and is this folder's, not a later process with its number
  local number; number=$(pid_of "$1")
  [ -n "$number" ] || return 1
  # -ww: without it a COLUMNS in the environment cuts the line.
  case "$(ps -ww -p "$number" -o args= 2>/dev/null)" in *"org.apache.spark.deploy."*"$folder/conf/spark-defaults.conf"*) return 0 ;; esac
  return 1
}
known() { # the processes that this folder has records of, workers first
  find "$folder" -maxdepth 1 -name 'worker-*.pid' -printf '%f\n' | sed 's/\.pid$//' | sort -V
  if [ -e "$folder/master.pid" ]; then echo master; fi
}

launch() { # NAME CLASS ARGUMENTS...
  local name=$1 class=$2; shift 2
  SPARK_HOME=$spark_home SPARK_CONF_DIR=$folder/conf SPARK_LOCAL_IP=127.0.0.1 SPARK_LOCAL_DIRS=$folder/local/$name \
    SPARK_DAEMON_MEMORY=256m \
    SPARK_DAEMON_JAVA_OPTS="-XX:+UseSerialGC -Dlog4j2.configurationFile=file:$here/log4j2.properties" \
    setsid "$spark_home/bin/spark-class" "org.apache.spark.deploy.$class" --host 127.0.0.1 --webui-port 0 \
    --properties-file "$folder/conf/spark-defaults.conf" "$@" </dev/null >"$folder/log/$name.log" 2>&1 &
  echo $! >"$folder/$name.pid"
}
said() { # NAME WORDS: waits until the process says so; false if it ends first
  for _ in $(seq 300); do
    grep -q "$2" "$folder/log/$1.log" && return 0
    kill -0 "$(pid_of "$1")" 2>/dev/null || break
    sleep 0.2
  done
  say "The $1 did not start:"; tail -n 20 "$folder/log/$1.log" >&2
  return 1
}

start() {
  local name
  for name in $(known); do
    if runs "$name"; then say "The cluster of $folder runs already."; return; fi
  done
  sweep
  spark_home=$("$python" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)')
  mkdir -p "$folder/conf" "$folder/log" "$folder/local"
  # Whoever may submit to a cluster runs code in the account of its workers: without this secret nobody may.
  cat >"$folder/conf/spark-defaults.conf" <<PROPERTIES
spark.authenticate             true
spark.authenticate.secret      $("$python" -c 'import secrets; print(secrets.token_hex(32))')
spark.network.crypto.enabled   true
spark.master.rest.enabled      false
spark.ui.killEnabled           false
spark.driver.host              127.0.0.1
spark.driver.bindAddress       127.0.0.1
spark.executor.cores           $cores
spark.executor.memory          $executor_memory
spark.executor.extraJavaOptions  -Dlog4j2.configurationFile=file:$root/jobs/log4j2.properties
PROPERTIES
  launch master master.Master --port "$port"
  said master 'I have been elected leader' || { stop; return 1; }
  for number in $(seq "$workers"); do
    launch "worker-$number" worker.Worker --cores "$cores" --memory "$memory" --work-dir "$folder/work/worker-$number" \
      "spark://127.0.0.1:$port"
  done
  for number in $(seq "$workers"); do
    said "worker-$number" 'Successfully registered with master' || { stop; return 1; }
  done
  say "$workers workers of $cores cores wait at spark://127.0.0.1:$port. To run the edge on them:"
  say "  SPARK_CONF_DIR=$folder/conf TIDEMARK_EDGE__MASTER=spark://127.0.0.1:$port tidemark edge run"
}

stop() {
  local name number
  for name in $(known); do
    if runs "$name"; then kill "$(pid_of "$name")"; fi
  done
  for name in $(known); do
    for _ in $(seq 50); do runs "$name" || break; sleep 0.2; done
    if runs "$name"; then kill -9 "$(pid_of "$name")"; fi
    rm -f "$folder/$name.pid"
  done
  sweep
}

sweep() { rm -rf "$folder/local" "$folder/work"; }  # what executors spilled and said

mkdir -p "$folder" && folder=$(cd "$folder" && pwd)
case "$act" in
  start) start ;;
  stop) stop ;;
  status)
    for name in $(known); do
      if runs "$name"; then echo "$name runs: $(pid_of "$name")"; else echo "$name is gone"; fi
    done
    runs master || exit 1 ;;
  *) usage ;;
esac
