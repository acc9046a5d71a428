#!/bin/sh
# Brings a pinned set of jars into the cache once, checks every one against its digest each time, prints the folder.
# Usage: deploy/kafka/jars.sh broker|connector [--print-sums]
# The cache is ${TIDEMARK_CACHE:-~/.cache/tidemark}. A mirror is the one of Maven's own settings, or TIDEMARK_MAVEN_MIRROR.
# --print-sums is for who moves a pin: it gives the digests of what Maven resolves, to be read before they are committed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${TIDEMARK_CACHE:-$HOME/.cache/tidemark}
say() { printf '%s\n' "$*" >&2; }
version() { sed -n "/<artifactId>$2</{n;s/.*<version>\(.*\)<.*/\1/p;}" "$here/$1/pom.xml"; }
digests() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

case "${1:-}" in
  broker) pins=$here/broker/SHA256SUMS; folder=$cache/kafka-$(version broker kafka_2.13) ;;
  connector)
    pins=$here/../../jobs/kafka_jars.sha256
    folder=$cache/spark-kafka-$(version connector spark-sql-kafka-0-10_2.13) ;;
  *) say "Usage: deploy/kafka/jars.sh broker|connector [--print-sums]"; exit 2 ;;
esac

as_pinned() { # the folder holds exactly the pinned jars
  [ -d "$1" ] && [ "$(cd "$1" && digests ./*.jar 2>/dev/null | sed 's,\./,,' | LC_ALL=C sort -k 2)" = "$(LC_ALL=C sort -k 2 "$pins")" ]
}

resolve() {
  "$here/../ensure.sh" maven
  set -- "$1" "$2" -B -q
  if [ -n "${TIDEMARK_MAVEN_MIRROR:-}" ]; then
    mirror=$(printf '%s' "$TIDEMARK_MAVEN_MIRROR" | sed 's/&/\&amp;/g; s/</\&lt;/g')
    printf '<settings><mirrors><mirror><id>ours</id><mirrorOf>central</mirrorOf><url>%s</url></mirror></mirrors></settings>\n' \
      "$mirror" >"$2/settings.xml"
    set -- "$@" -gs "$2/settings.xml"
  fi
  say "Fetching the jars of $here/$1/pom.xml with Maven"
  pom=$here/$1/pom.xml into=$2
  shift 2
  mvn "$@" -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime "-DoutputDirectory=$into" >&2
  rm -f "$into/settings.xml"
}

mkdir -p "$cache"
if [ "${2:-}" = --print-sums ] || ! as_pinned "$folder"; then
  draft=$(mktemp -d "$cache/draft.XXXXXX")
  trap 'rm -rf "$draft"' EXIT
  resolve "$1" "$draft" || { say "Maven did not bring the jars. A mirror is set by TIDEMARK_MAVEN_MIRROR or in Maven's own settings."; exit 1; }
  if [ "${2:-}" = --print-sums ]; then
    (cd "$draft" && digests ./*.jar | sed 's,\./,,' | LC_ALL=C sort -k 2)
    exit 0
  fi
  as_pinned "$draft" || { say "What Maven brought is not what $pins pins: refused."; exit 1; }
  # Whoever comes second finds the folder there and keeps it: both were checked.
  rm -rf "$folder"
  mv "$draft" "$folder" 2>/dev/null || as_pinned "$folder"
fi
printf '%s\n' "$folder"
