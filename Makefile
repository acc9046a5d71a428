# Everything that is run here, and everything that CI runs. `make demo` and `make test` need Python 3.11+ and make.
BIN := .venv/bin
UV := 0.13.9
DEMO_ARGS ?=
EVIDENCE_ARGS ?=
PACKAGES := ingest geofence movement privacy detector api jobs simulator
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-kafka check bench evidence openapi kafka kafka-stop clean

.venv/.ready: pyproject.toml uv.lock
	@python=$$(deploy/ensure.sh python) && $$python -m venv .venv 1>&2
	@$(BIN)/python -m pip install --quiet uv==$(UV) 1>&2
	@$(BIN)/uv sync --quiet --frozen --all-extras --inexact 1>&2
	@touch $@

demo: .venv/.ready  ## a simulated border from a carrier's events to alerts on a map: http://localhost:8000
	@deploy/ensure.sh java
	@$(BIN)/tidemark demo $(DEMO_ARGS)

check: .venv/.ready  ## style, types, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/.ready check  ## the whole suite
	deploy/ensure.sh java
	deploy/ensure.sh chromium
	$(BIN)/pytest --doctest-modules $(PACKAGES) tests --ignore tests/kafka

test-kafka: .venv/.ready  ## the parts for Kafka, on a real broker; not wired into `sight` yet, so not part of `test`
	deploy/ensure.sh java
	deploy/ensure.sh maven
	$(BIN)/pytest tests/kafka

bench: .venv/.ready  ## speeds, as ratios to yardsticks in the same run
	@deploy/ensure.sh java
	@$(BIN)/python -m bench.edge

evidence: .venv/.ready  ## accuracy, privacy and fault figures, with commit, seed and machine
	@deploy/ensure.sh java
	@$(BIN)/python -m bench.evidence $(EVIDENCE_ARGS)

openapi: .venv/.ready  ## the committed description of the service
	@$(BIN)/python -m api.openapi > docs/openapi.json

KAFKA_PORT ?= 9092
kafka: .venv/.ready  ## a real broker for development on the loopback interface, and Tidemark's topics on it
	@deploy/ensure.sh java
	@deploy/kafka/connector.sh >/dev/null
	@deploy/kafka/broker.sh start --port $(KAFKA_PORT)
	@$(BIN)/python -c 'from ingest.kafka import ensure_topics; print(*ensure_topics("127.0.0.1:$(KAFKA_PORT)"), sep="\n")'

kafka-stop:  ## stop it; what it holds stays under var/kafka
	@deploy/kafka/broker.sh stop

clean:  ## what running and building left behind
	rm -rf var dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
