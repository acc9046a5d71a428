#!/usr/bin/env bash
# A real Apache Kafka broker (KRaft, one node) for development and tests, on the loopback interface only, without a login:
# never for a carrier's traffic. Usage: deploy/kafka/broker.sh start|stop|status [--port N] [--controller-port N] [--data DIR]
#   [--extra FILE]   FILE's lines come after the broker's own properties and win over them (a TLS listener, a log setting)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
act=${1:-}
port=9092 controller='' folder=$here/../../var/kafka extra=/dev/null
say() { printf '%s\n' "$*" >&2; }
usage() { say "Usage: deploy/kafka/broker.sh start|stop|status [--port N] [--controller-port N] [--data DIR] [--extra FILE]"; exit 2; }
[ $# -gt 0 ] && shift
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case "$1" in
    --port) port=$2 ;;
    --controller-port) controller=$2 ;;
    --data) folder=$2 ;;
    --extra) extra=$2 ;;
    *) usage ;;
  esac
  shift 2
done
controller=${controller:-$((port + 1))}
case "$port$controller" in *[!0-9]*) usage ;; esac
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

pid() { cat "$folder/broker.pid" 2>/dev/null || true; }
runs() { # the recorded process is there and is this folder's broker, not a later process with its number
  local number; number=$(pid)
  [ -n "$number" ] || return 1
  # -ww: without it a COLUMNS in the environment cuts the line.
  case "$(ps -ww -p "$number" -o args= 2>/dev/null)" in *"kafka.Kafka $folder/server.properties"*) return 0 ;; esac
  return 1
}

start() {
  if runs; then say "The broker of $folder runs already."; return; fi
  local jars; jars=$("$here/jars.sh" broker)
  mkdir -p "$folder"
  cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=BROKER://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=BROKER://127.0.0.1:$port
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$folder/log
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
PROPERTIES
  cat "$extra" >>"$folder/server.properties"
  if [ ! -e "$folder/log/meta.properties" ]; then
    local cluster; cluster=$("$java" -cp "$jars/*" kafka.tools.StorageTool random-uuid 2>/dev/null)
    "$java" -cp "$jars/*" kafka.tools.StorageTool format -t "$cluster" -c "$folder/server.properties" >"$folder/format.log" 2>&1 ||
      { cat "$folder/format.log" >&2; return 1; }
  fi
  setsid "$java" -Xms128m -Xmx512m -XX:+UseSerialGC "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$jars/*" \
    kafka.Kafka "$folder/server.properties" </dev/null >"$folder/broker.log" 2>&1 &
  echo $! >"$folder/broker.pid"
  for _ in $(seq 300); do
    grep -q 'Kafka Server started' "$folder/broker.log" && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null &&
      { say "The broker answers on 127.0.0.1:$port"; return; }
    # Right after the start the process is not yet the broker: setsid has still to become it.
    kill -0 "$(pid)" 2>/dev/null || break
    sleep 0.2
  done
  say "The broker did not start:"; tail -n 20 "$folder/broker.log" >&2
  return 1
}

stop() {
  if runs; then
    kill "$(pid)"
    for _ in $(seq 100); do runs || break; sleep 0.2; done
    if runs; then kill -9 "$(pid)"; fi
  fi
  rm -f "$folder/broker.pid"
}

mkdir -p "$folder" && folder=$(cd "$folder" && pwd)
case "$act" in
  start) start ;;
  stop) stop ;;
  status) if runs; then say "runs"; else say "does not run"; exit 1; fi ;;
  *) usage ;;
esac
