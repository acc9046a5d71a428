#!/bin/sh
# Brings Spark's Kafka connector into the cache and prints the folder; jobs/kafka_jars.py finds it there.
# Usage: deploy/kafka/connector.sh
exec "$(dirname "$0")/jars.sh" connector
