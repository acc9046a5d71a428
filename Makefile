# Everything that is run here, and everything that CI runs. `make demo` and `make test` need Python 3.11+ and make.
BIN := .venv/bin
UV := 0.13.9
DEMO_ARGS ?=
EVIDENCE_ARGS ?=
AUDIT_ARGS ?=
BENCH_ARGS ?=
PACKAGES := ingest geofence movement privacy detector api jobs simulator
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-kafka jars check bench bench-kafka evidence evidence-privacy guards evidence-edge edge-page evidence-detection openapi documents kafka kafka-stop cluster cluster-stop clean

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

test: .venv/.ready check jars  ## the whole suite, on a real browser, a real Spark and a real Kafka broker
	deploy/ensure.sh chromium
	$(BIN)/pytest --doctest-modules $(PACKAGES) tests

jars:  ## the jars of Spark's Kafka connector and of the broker: brought by Maven once, checked each time, cached
	@deploy/ensure.sh java
	@deploy/kafka/connector.sh >/dev/null
	@deploy/kafka/jars.sh broker >/dev/null

test-kafka: .venv/.ready jars  ## the parts of it for Kafka
	$(BIN)/pytest tests/kafka

bench: .venv/.ready  ## speeds, as ratios to yardsticks in the same run (BENCH_ARGS="--section close")
	@deploy/ensure.sh java
	@$(BIN)/python -m bench.edge $(BENCH_ARGS)

bench-kafka: .venv/.ready jars  ## rows from Kafka per CPU-second, and end to end at a steady rate (BENCH_ARGS="--minutes 10")
	@$(BIN)/python -m bench.kafka $(BENCH_ARGS)

evidence: .venv/.ready  ## accuracy, privacy and fault figures, with commit, seed and machine
	@deploy/ensure.sh java
	@$(BIN)/python -m bench.evidence $(EVIDENCE_ARGS)

evidence-privacy: .venv/.ready  ## attacks on the promise, each with broken builds that it must catch (AUDIT_ARGS="--runs 20000")
	@deploy/ensure.sh java
	@$(BIN)/python -m bench.privacy_audit $(AUDIT_ARGS)

guards: .venv/.ready  ## the guards of the promise taken out one by one, and the test that fails without each
	@$(BIN)/python -m tests.guards

evidence-edge: .venv/.ready jars  ## nothing lost, nothing counted twice, nothing left: crashes, kills, a day sent twice, planted tokens (about 45 min)
	@deploy/ensure.sh java
	@status=0; for campaign in crash_points kills resend canary; do \
	  echo "$$campaign" >&2; $(BIN)/python -m tests.campaigns.$$campaign || status=1; done; exit $$status

edge-page: .venv/.ready  ## docs/evidence-edge.md from the printed figures in docs/figures
	@$(BIN)/python -m bench.edge_page docs/figures > docs/evidence-edge.md

DETECTION_ARGS ?=
evidence-detection: .venv/.ready  ## docs/evidence-detection.md: what the detector finds beside other methods and an oracle (about 1 h; DETECTION_ARGS="--quick")
	@mkdir -p docs/figures
	@$(BIN)/python -m bench.detection --json $(DETECTION_ARGS) > docs/figures/.detection.json
	@mv docs/figures/.detection.json docs/figures/detection.json
	@$(BIN)/python -m bench.detection --from docs/figures/detection.json --markdown > docs/evidence-detection.md

openapi: .venv/.ready  ## the committed description of the service
	@$(BIN)/python -m api.openapi > docs/openapi.json

budget: .venv/.ready  ## what a month costs, from the policy in force (docs/budget.md)
	@$(BIN)/tidemark ledger table --markdown > docs/budget.md

documents: .venv/.ready  ## what people must sign, from the code's own facts (docs/sign)
	@$(BIN)/python -m bench.documents

KAFKA_PORT ?= 9092
kafka: .venv/.ready jars  ## a real broker for development on the loopback interface, and Tidemark's topics on it
	@deploy/kafka/broker.sh start --port $(KAFKA_PORT)
	@$(BIN)/python -c 'from ingest.kafka import ensure_topics; print(*ensure_topics("127.0.0.1:$(KAFKA_PORT)"), sep="\n")'

kafka-stop:  ## stop it; what it holds stays under var/kafka
	@deploy/kafka/broker.sh stop

CLUSTER_ARGS ?=
cluster: .venv/.ready  ## a real Spark cluster on the loopback interface, two workers (CLUSTER_ARGS="--workers 4"): docs/scale-out.md
	@deploy/ensure.sh java
	@deploy/spark/cluster.sh start $(CLUSTER_ARGS)

cluster-stop:  ## stop it, and remove what its workers spilled and said
	@deploy/spark/cluster.sh stop

clean:  ## what running and building left behind
	rm -rf var dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
