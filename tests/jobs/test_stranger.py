"""What an edge leaves behind, as a stranger finds it: its public ledger and its outbox pass the check on bare Python."""

import json
import subprocess
import sys

from jobs.edge import ledger_of, open_edge
from privacy.public import public_ledger
from tests.jobs.edge_run import QUIET, ROWS, EdgeRun
from tests.privacy.stranger import VERIFIER


def test_the_ledger_and_outbox_of_a_real_edge_pass_the_strangers_check(one_process, tmp_path) -> None:
    run = EdgeRun(one_process, tmp_path / "edge", ROWS)
    run.sight()
    edge = open_edge(run.settings, run.placed, QUIET)
    said = run.close(edge)
    edge.ledger.close()
    ledger = ledger_of(run.settings)
    exported = tmp_path / "ledger.json"
    exported.write_text(json.dumps(public_ledger(ledger.carrier, ledger.mode, ledger.chain())), encoding="utf-8")

    def checked() -> tuple[int, dict]:
        words = [sys.executable, "-I", "-S", str(VERIFIER), str(exported), str(run.folder.releases), "--json"]
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        return answer.returncode, json.loads(answer.stdout)

    code, answer = checked()
    assert (code, answer["faults"]) == (0, [])
    assert answer["checked"]["files"] == answer["checked"]["releases"] == len(said) >= 24
    outbox = sorted(run.folder.releases.glob("*.json"))
    document = json.loads(outbox[3].read_text(encoding="utf-8"))
    document["feed"]["complete"] = not document["feed"]["complete"]
    outbox[3].write_text(json.dumps(document), encoding="utf-8")
    code, answer = checked()
    assert (code, answer["faults"][0]["rule"]) == (1, "file.digest")
