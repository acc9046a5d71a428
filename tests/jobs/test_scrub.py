"""The scrubber: what a process says in logs, warnings and faults holds no token, no identity and no counted value.

Every story ends in `leaks`, which looks for the planted secrets in all their spellings; one story shows that it finds them.
"""

import base64
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scrub import GONE, TaskFault, scrub, silenced, told

TOKENS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26)
IDENTITIES = st.text(alphabet="0123456789", min_size=14, max_size=16)
RAW = st.binary(min_size=16, max_size=16)
AROUND = st.text(max_size=40)
TOKEN = "q7xk2mfaz4wd6rbn3tjy5hcuve"
RAW_TOKEN = bytes(range(0xA0, 0xB0))
COUNT = 48_613  # a counted value has no shape: only silence keeps it


def spellings(raw: bytes) -> list[str]:
    """Sixteen raw bytes as programs print them."""
    grouped = raw.hex(" ")
    return [repr(raw), raw.hex(), raw.hex().upper(), grouped, raw.hex(":"), base64.b64encode(raw).decode()]


def leaks(text: str) -> list[str]:
    """The planted secrets that a text holds."""
    planted = [TOKEN, TOKEN.upper(), str(COUNT), f"{COUNT:,}", *spellings(RAW_TOKEN)]
    return [secret for secret in planted if secret in text]


@given(AROUND, TOKENS, AROUND)
def test_a_token_never_passes_whatever_stands_around_it(before: str, token: str, after: str) -> None:
    for spelled in (token, token.upper()):
        assert spelled not in scrub(before + spelled + after)


@given(AROUND, IDENTITIES, st.sampled_from(["", " ", "-", "."]), AROUND)
def test_an_identity_never_passes_plain_or_grouped(before: str, digits: str, gap: str, after: str) -> None:
    grouped = gap.join(digits)
    assert grouped not in scrub(before + grouped + after)


@given(RAW, st.sampled_from(["", " ", "=", "token: ", "['", "?q="]))
def test_sixteen_raw_bytes_never_pass_however_they_are_printed(raw: bytes, before: str) -> None:
    for spelled in spellings(raw):
        assert spelled not in scrub(before + spelled + ", then")


@given(
    st.lists(st.one_of(TOKENS, IDENTITIES, RAW.map(repr)), min_size=1, max_size=6),
    st.sampled_from(["", "&", "\n", '":"']),
)
def test_secrets_run_together_do_not_hide_each_other(secrets: list[str], gap: str) -> None:
    scrubbed = scrub(gap.join(secrets))
    assert not [secret for secret in secrets if secret in scrubbed]


@given(AROUND)
def test_scrubbing_twice_says_no_more_and_no_less(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "window 2026-03-02T05:00:00Z: the chain is broken",
        "server_fault 6f1f3d3e-6d3f-4a67-9c50-3f6a0f6d3c11 KeyError store.py:88 < app.py:12",
        "release sha256:" + "9a" * 32 + " of carrier-a, sigma 9.45, rho 0.0224, delta 1e-06",
        "policy.threshold is 49; it must be at least 50",
        "org.apache.spark.sql.execution.datasources.FileFormatDataWriter in zone VN-KH-033",
        "1,048,576 bytes in 24 files, 2026-06-24 20:00",
    ],
)
def test_what_an_operator_needs_stays_as_it_is(text: str) -> None:
    assert scrub(text) == text


class Unexpected(Exception):
    """A library's own kind of fault."""


def failing(message: object) -> Exception:
    try:
        try:
            raise KeyError(message)
        except KeyError as first:
            raise Unexpected(f"row {message}") from first
    except Unexpected as fault:
        return fault


@pytest.mark.parametrize("secret", [TOKEN, COUNT, RAW_TOKEN, {"arrivals": COUNT, "token": TOKEN}])
def test_a_foreign_fault_is_told_by_kind_and_place_and_never_by_its_words(secret: object) -> None:
    line = told(failing(secret))
    assert leaks(line) == []
    assert line.startswith("Unexpected at test_scrub.py:")
    assert "; after KeyError at test_scrub.py:" in line


def test_a_fault_of_our_own_keeps_its_sentence_without_the_token_in_it() -> None:
    from privacy.ledger import LedgerRefused

    line = told(LedgerRefused(f"the lineage is not that of the token-day {TOKEN}"))
    assert line == f"LedgerRefused (the lineage is not that of the token-day {GONE})"


def test_a_fault_says_its_code_from_a_fixed_list() -> None:
    from pyspark.errors import AnalysisException

    full = OSError(28, "No space left on device", f"/var/{TOKEN}")
    assert told(full) == "OSError [No space left on device]"
    spark = AnalysisException(errorClass="ATTRIBUTE_NOT_SUPPORTED", messageParameters={"attr_name": TOKEN})
    assert TOKEN in str(spark)
    assert told(spark) == "AnalysisException [ATTRIBUTE_NOT_SUPPORTED]"


def test_words_that_somebody_gives_to_an_operating_system_fault_are_not_told() -> None:
    assert told(OSError(28, f"{COUNT} rows")) == told(OSError("again", f"{COUNT} rows")) == "OSError"


def test_bytes_are_found_behind_an_underscore_also_where_most_of_them_are_letters() -> None:
    raw = b"L-sM\xb0UHa`Gl9Rw\x8c\xa0"
    assert repr(raw) not in scrub(f"x_{raw!r}")


def test_a_task_fails_without_telling_what_it_held() -> None:
    @silenced
    def task(batches: Iterator[int]) -> Iterator[int]:
        for batch in batches:
            yield batch
            raise ValueError(f"{TOKEN} {batch}")

    made = task(iter([COUNT]))
    assert next(made) == COUNT
    with pytest.raises(TaskFault) as caught:
        next(made)
    assert leaks(str(caught.value)) == []
    assert "ValueError at test_scrub.py:" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


SPEAKING = """
import asyncio, logging, sys, threading, warnings
from tests.jobs.test_scrub import COUNT, RAW_TOKEN, TOKEN
if {scrubbed}:
    from jobs.scrub import install_scrubber
    install_scrubber()
logging.basicConfig(level=logging.DEBUG)
{act}
"""
ACTS = {
    "log": "logging.getLogger('a.library').warning('read %s as %r', TOKEN, RAW_TOKEN)",
    "log_of_a_fault": """
try:
    {}[TOKEN, COUNT]
except KeyError:
    logging.getLogger('uvicorn.error').exception('Exception in ASGI application')""",
    "log_that_does_not_fit": "logging.getLogger('py4j').error('%d rows', TOKEN)",
    "log_to_a_handler_of_its_own": """
logger = logging.getLogger('apart'); logger.propagate = False
logger.addHandler(logging.StreamHandler(sys.stdout)); logger.error(dict(token=TOKEN, raw=RAW_TOKEN))""",
    "warning": "warnings.warn(f'duplicate of {TOKEN}')",
    "fault": "raise ValueError(f'{TOKEN} was seen {COUNT} times')",
    "fault_in_a_frame": """
import polars as pl
pl.DataFrame({'token': [RAW_TOKEN], 'arrivals': [COUNT]}).select(pl.col('arrivals').cast(pl.Int8))""",
    "fault_of_a_contract": """
from ingest.release import Release
Release.model_validate({'counts': [{'value': TOKEN, 'zone_id': RAW_TOKEN, 'direction': COUNT}]})""",
    "fault_in_a_thread": """
def count(): raise RuntimeError(TOKEN, COUNT)
thread = threading.Thread(target=count); thread.start(); thread.join()""",
    "fault_while_collecting": """
class Held:
    def __del__(self): raise RuntimeError(TOKEN, COUNT)
    def __repr__(self): return TOKEN
Held()""",
    "fault_in_a_loop": """
async def count(): raise RuntimeError(TOKEN, COUNT)
async def main():
    task = asyncio.create_task(count()); await asyncio.sleep(0); del task
    import gc; gc.collect()
asyncio.run(main())""",
}


def said(act: str, *, scrubbed: bool) -> str:
    program = SPEAKING.replace("{scrubbed}", str(scrubbed)).replace("{act}", act)
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return answer.stdout + answer.stderr


@pytest.mark.parametrize("act", ACTS)
def test_a_process_says_nothing_of_what_it_holds(act: str) -> None:
    text = said(ACTS[act], scrubbed=True)
    assert leaks(text) == []
    assert text != ""


def test_a_warning_is_told_without_its_secret_also_where_nobody_set_up_logging() -> None:
    program = (
        f"from jobs.scrub import install_scrubber; install_scrubber()\nimport warnings; warnings.warn('twice {TOKEN}')"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.stderr == f"<string>:2: UserWarning: twice {GONE}\n"


@pytest.mark.parametrize("act", ACTS)
def test_without_the_scrubber_the_same_process_leaks_and_is_found_out(act: str) -> None:
    assert leaks(said(ACTS[act], scrubbed=False)) != []


def test_the_command_tells_an_unforeseen_fault_without_its_words() -> None:
    program = (
        "import sys; from jobs import cli\n"
        f"def purge(*_, **__): raise ValueError('{TOKEN}', {COUNT})\n"
        "import jobs.centre; jobs.centre.open_store = purge\n"
        "sys.argv = ['tidemark', 'purge']; cli.main()"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert leaks(answer.stdout + answer.stderr) == []
    assert "fault: ValueError at <string>:2 < cli.py:" in answer.stderr


SPARK = """
import sys
from pathlib import Path
import jobs.spark
from jobs.scrub import install_scrubber, say_fault, silenced
from tests.jobs.test_scrub import COUNT, RAW_TOKEN, TOKEN
if {scrubbed}:
    install_scrubber()
else:
    jobs.spark._JVM_LOG = ""
spark = jobs.spark.edge_session(master="local[1]", scratch=Path(sys.argv[1]), driver_memory="1g")
def count(batches):
    for batch in batches:
        raise ValueError(f"{TOKEN} {RAW_TOKEN.hex()} {COUNT}")
    yield
@silenced
def speaking(batches):
    import logging, warnings
    warnings.warn(f"duplicate of {TOKEN}")
    logging.getLogger("a.library").error("read %s", TOKEN)
    yield from count(batches)
for task in (count, speaking):
    try:
        spark.range(3).mapInArrow(task, "id long").collect()
    except Exception as fault:
        say_fault(fault)
try:
    spark.sql(f"select cast('{TOKEN}' as int) from range(1)").collect()
except Exception as fault:
    say_fault(fault)
import time
time.sleep(2)  # what a worker said comes through a pipe of the JVM
spark.stop()
"""


@pytest.mark.spark
@pytest.mark.parametrize("scrubbed", [True, False], ids=["scrubbed", "planted-leak"])
def test_what_a_worker_failed_on_does_not_come_out_through_the_jvm(tmp_path, scrubbed: bool) -> None:
    program = SPARK.replace("{scrubbed}", str(scrubbed))
    answer = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    text = answer.stdout + answer.stderr
    assert answer.returncode == 0, text
    assert "Exception in task 0.0 in stage 0.0" in text
    assert "(ValueError at " in text  # what the operator is left with: the silenced task's kind and place
    assert "duplicate of" in text, "a worker's warnings come out"
    assert bool(leaks(text)) != scrubbed


def test_every_task_that_the_edge_hands_to_spark_is_silenced() -> None:
    import pyarrow as pa

    from jobs.closing import close_task
    from jobs.staging import stage_task

    def tables(_: Iterator[object]) -> Iterator[object]:
        raise ValueError(f"{TOKEN} {COUNT}")

    number = pa.RecordBatch.from_pydict({"number": [0]})
    for task in (stage_task(None, tables), close_task(TOKEN, [range(1)])):  # type: ignore[arg-type]
        with pytest.raises(TaskFault) as caught:
            list(task(iter([number])))
        assert leaks(str(caught.value)) == []


SERVING = """
import sys
from datetime import UTC, datetime
from jobs.centre import open_store, serve
from jobs.settings import CentreSettings
settings = CentreSettings(store=sys.argv[1], port=int(sys.argv[2]), sign_in="development")
store = open_store(settings)
if {scrubbed}:
    from jobs.scrub import install_scrubber
    install_scrubber()
    serve(store, settings, clock=lambda: datetime.now(UTC))
else:
    import uvicorn
    from api.app import create_app
    from api.settings import ApiSettings
    uvicorn.run(create_app(store, ApiSettings(sign_in="development")), port=settings.port)
"""


@pytest.mark.parametrize("scrubbed", [True, False], ids=["scrubbed", "planted-leak"])
def test_what_is_asked_of_the_service_is_not_in_its_log(tmp_path, scrubbed: bool) -> None:
    import socket
    import time
    import urllib.error
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = SERVING.replace("{scrubbed}", str(scrubbed))
    words = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/centre.sqlite", str(port)]
    serving = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=2)
                break
            except OSError:
                time.sleep(0.2)
        for path, body in ((f"/v1/alerts?token={TOKEN}", None), ("/v1/releases", f'{{"token": "{TOKEN}"}}'.encode())):
            asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(asked, timeout=5)
            assert leaks(refused.value.read().decode()) == []
        with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
            raw.sendall(f"GET {TOKEN} {COUNT}\r\n\r\n".encode())
            raw.recv(1000)
    finally:
        serving.terminate()
        text, _ = serving.communicate(timeout=30)
    assert bool(leaks(text)) != scrubbed
