#!/bin/sh
# Makes sure that something this project runs on is there: found, else installed where that can be done, else a clear
# word on how to get it. Usage: deploy/ensure.sh python|java|maven|chromium
set -u

say() { printf '%s\n' "$*" >&2; }

install() { # Debian packages, if this is Debian and we may
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "Installing: $*"
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@") \
      </dev/null >/tmp/tidemark-apt.$$ 2>&1 || { cat /tmp/tidemark-apt.$$ >&2; rm -f /tmp/tidemark-apt.$$; return 1; }
    rm -f /tmp/tidemark-apt.$$
  else
    return 1
  fi
}

python_works() { command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

java_version() { "$1" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1; }

java_works() {
  for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" java; do
    [ -n "$java" ] && command -v "$java" >/dev/null 2>&1 || continue
    case "$(java_version "$java")" in 17 | 21 | 25) return 0 ;; esac
  done
  return 1
}

case "${1:-}" in
  python) # prints the interpreter to use
    for python in "${PYTHON:-python3}" python3.12 python3.11; do
      if python_works "$python"; then
        "$python" -c 'import ensurepip' 2>/dev/null || install python3-venv || {
          say "Python has no venv module. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
        echo "$python"; exit 0
      fi
    done
    say "Tidemark needs Python 3.11 or 3.12. On Debian or Ubuntu: apt-get install python3 python3-venv"; exit 1 ;;
  java)
    java_works || { install openjdk-17-jre-headless && java_works; } || {
      say "Spark needs Java 17, 21 or 25. On Debian or Ubuntu: apt-get install openjdk-17-jre-headless;"
      say "elsewhere install a JDK and set JAVA_HOME."; exit 1; } ;;
  maven)
    command -v mvn >/dev/null 2>&1 || install maven || {
      say "The Kafka jars come by Maven. On Debian or Ubuntu: apt-get install maven"; exit 1; } ;;
  chromium)
    command -v chromium >/dev/null 2>&1 || install chromium || {
      say "The page is tested in a real browser. On Debian or Ubuntu: apt-get install chromium"; exit 1; } ;;
  *) say "Usage: deploy/ensure.sh python|java|maven|chromium"; exit 2 ;;
esac
