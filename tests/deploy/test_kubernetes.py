"""The Kubernetes pieces fit together and are what Spark's own submission client makes of them. No cluster runs here."""

import json
import os
import re
import shlex
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyspark
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
SPARK = ROOT / "deploy" / "spark"
SPARK_HOME = Path(pyspark.__file__).parent
UID = 185


def documents(name):
    return list(yaml.safe_load_all((SPARK / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def application():
    (found,) = documents("spark-application.yaml")
    return found["spec"]


@pytest.fixture(scope="module")
def template():
    (found,) = documents("pod.yaml")
    return found["spec"]


@pytest.fixture(scope="module")
def account():
    return {found["kind"]: found for found in documents("account.yaml") if found["kind"] != "PersistentVolumeClaim"}


def is_restricted(security):
    return (
        security["runAsNonRoot"]
        and security["runAsUser"] == UID
        and security["readOnlyRootFilesystem"]
        and not security["allowPrivilegeEscalation"]
        and security["capabilities"] == {"drop": ["ALL"]}
        and security["seccompProfile"] == {"type": "RuntimeDefault"}
    )


def mounts(of):
    return {mount["name"]: mount["mountPath"] for mount in of["volumeMounts"]}


# The image


def dockerfile():
    lines = (SPARK / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]


def test_every_base_image_is_pinned_by_its_whole_version():
    bases = [given.split()[0] for word, given in dockerfile() if word == "FROM"]
    assert len(bases) == 3
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+-[a-z0-9-]+", base) for base in bases)


def test_the_image_runs_as_an_account_of_its_own():
    steps = dockerfile()
    assert [given for word, given in steps if word == "USER"] == [f"{UID}:{UID}"]
    assert steps.index(["USER", f"{UID}:{UID}"]) > max(
        n for n, (word, _) in enumerate(steps) if word in ("RUN", "COPY")
    )


def test_everything_that_the_image_copies_is_there_and_may_be_sent():
    sent = (SPARK / "Dockerfile.dockerignore").read_text().splitlines()
    for given in (given for word, given in dockerfile() if word == "COPY" and not given.startswith("--from")):
        for source in given.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(f"!{parent}" in sent for parent in [source, *map(str, Path(source).parents)])


def test_the_image_brings_every_package_of_the_project():
    (packages,) = re.findall(r"^PACKAGES := (.+)$", (ROOT / "Makefile").read_text(), re.M)
    copied = {given.split()[0] for word, given in dockerfile() if word == "COPY"}
    assert set(packages.split()) <= copied


@pytest.fixture
def started(tmp_path):
    """What the image's entry point would run: tini, Java and the command are stand-ins that say how they were called."""
    for name in ("tini", "java", "tidemark"):
        (tmp_path / name).write_text('#!/bin/sh\nfor given; do echo "$given"; done\n')
        (tmp_path / name).chmod(0o755)

    def run(*arguments, **environment):
        paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SPARK_HOME": str(SPARK_HOME)}
        done = subprocess.run(
            [SPARK / "entrypoint.sh", *arguments], env=paths | environment, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return run


def test_a_container_runs_the_command(started):
    assert started("edge", "run", "--every", "60") == ["-s", "--", "tidemark", "edge", "run", "--every", "60"]


def test_a_container_runs_an_executor_as_the_driver_ordered_it(started):
    ordered = {
        "SPARK_JAVA_OPT_0": "-Da=b c",
        "SPARK_JAVA_OPT_1": "-Dd=e",
        "SPARK_EXECUTOR_MEMORY": "1g",
        "SPARK_DRIVER_URL": "spark://driver:7078",
        "SPARK_EXECUTOR_ID": "1",
        "SPARK_EXECUTOR_CORES": "2",
        "SPARK_APPLICATION_ID": "app",
        "SPARK_EXECUTOR_POD_IP": "10.0.0.7",
        "SPARK_RESOURCE_PROFILE_ID": "0",
        "SPARK_EXECUTOR_POD_NAME": "exec-1",
    }
    words = started("executor", **ordered)[2:]
    assert words[:5] == ["java", "-Da=b c", "-Dd=e", "-Xms1g", "-Xmx1g"]
    backend = words.index("org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend")
    said = dict(zip(words[backend + 1 :: 2], words[backend + 2 :: 2], strict=True))
    assert said["--driver-url"] == "spark://driver:7078"
    assert said["--podName"] == "exec-1"
    assert len(said) == 7


def test_a_container_runs_a_driver_in_its_own_place(started):
    words = started("driver", "--class", "x", "local:///y.py", SPARK_DRIVER_BIND_ADDRESS="10.0.0.6")
    assert words[2:] == [
        f"{SPARK_HOME}/bin/spark-submit",
        *("--conf", "spark.driver.bindAddress=10.0.0.6", "--deploy-mode", "client", "--class", "x", "local:///y.py"),
    ]


# The SparkApplication


def test_the_application_is_of_the_spark_that_is_installed_and_starts_what_the_image_holds(application):
    assert application["sparkVersion"] == pyspark.__version__
    assert application["mainApplicationFile"] == f"local:///opt/tidemark/{(SPARK / 'submitted.py').name}"
    assert application["mode"] == "cluster"
    assert application["restartPolicy"]["type"] == "Always"


def test_driver_and_executors_have_one_folder_one_feed_and_no_rights(application, template):
    (container,) = template["containers"]
    named = {volume["name"] for volume in application["volumes"]}
    for part in (application["driver"], application["executor"]):
        assert {"state": "/var/lib/tidemark", "feed": "/var/lib/feed", "scratch": "/tmp"}.items() <= mounts(
            part
        ).items()
        assert mounts(part).keys() <= named
        assert is_restricted(part["securityContext"])
        assert {"name": "TIDEMARK_EDGE__MASTER", "value": "submit"} in part["env"]
    assert is_restricted(container["securityContext"])
    assert mounts(container) == mounts(application["driver"])
    assert template["volumes"] == application["volumes"]


def test_what_the_processes_say_to_each_other_is_authenticated_and_encrypted(application):
    assert application["sparkConf"]["spark.authenticate"] == "true"
    assert application["sparkConf"]["spark.network.crypto.enabled"] == "true"


def test_the_account_may_start_pods_in_its_own_namespace_and_nothing_else(account, application):
    assert account["ServiceAccount"]["metadata"]["name"] == application["driver"]["serviceAccount"]
    (rule,) = account["Role"]["rules"]
    assert set(rule["resources"]) == {"pods", "services", "configmaps", "persistentvolumeclaims"}
    assert "ClusterRole" not in account
    namespaces = {found["metadata"].get("namespace", found["metadata"]["name"]) for found in account.values()}
    assert namespaces == {"tidemark"}


def test_the_volumes_that_are_mounted_are_claimed(application):
    claimed = {one["metadata"]["name"]: one["spec"] for one in documents("account.yaml") if "Claim" in one["kind"]}
    used = {volume["persistentVolumeClaim"]["claimName"] for volume in application["volumes"] if "Claim" in str(volume)}
    assert used == claimed.keys()
    assert claimed["tidemark-state"]["accessModes"] == ["ReadWriteMany"]


# The command of the page, run by Spark's own client against a server that writes down what it is asked for


class Recorder(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = json.loads(body) if body else None
        self.server.asked.append((self.command, self.path.partition("?")[0], asked))
        if asked is not None:
            asked["metadata"] |= {"uid": "1", "namespace": "tidemark", "resourceVersion": "1"}
        said = json.dumps(asked or {"kind": "Status", "apiVersion": "v1", "code": 404}).encode()
        self.send_response(200 if asked else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    """What Spark asks of Kubernetes when the command of docs/scale-out.md is run."""
    (command,) = re.findall(r"^```sh\n(spark-submit .+?)```", (ROOT / "docs" / "scale-out.md").read_text(), re.M | re.S)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    words = shlex.split(command.replace("\\\n", "").replace("https://KUBERNETES:6443", here))
    nowhere = tmp_path_factory.mktemp("home")
    environment = os.environ | {"SPARK_HOME": str(SPARK_HOME), "HOME": str(nowhere), "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [SPARK_HOME / "bin" / words[0], *words[1:]],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    server.shutdown()
    assert done.returncode == 0, done.stderr[-3000:]
    return server.asked


@pytest.mark.spark
def test_the_command_of_the_page_makes_the_driver_that_the_application_describes(submitted, application):
    (pod,) = (asked for _, path, asked in submitted if path == "/api/v1/namespaces/tidemark/pods")
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["serviceAccount"] == application["driver"]["serviceAccount"]
    assert container["image"] == application["image"]
    assert container["args"][-len(application["arguments"]) - 1 :] == [
        application["mainApplicationFile"],
        *application["arguments"],
    ]
    assert is_restricted(container["securityContext"])
    assert mounts(application["driver"]).items() <= mounts(container).items()
    assert {"name": "TIDEMARK_EDGE__MASTER", "value": "submit"} in container["env"]
    assert container["resources"]["limits"]["memory"] == "4096Mi"


@pytest.mark.spark
def test_the_command_of_the_page_hands_the_application_s_settings_to_spark(submitted, application):
    handed = "".join(
        asked["data"]["spark.properties"]
        for _, path, asked in submitted
        if "/configmaps/spark-drv" in path and asked is not None
    )
    for name, value in application["sparkConf"].items():
        assert f"{name}={value}".replace(":", "\\:") in handed.replace("\\=", "=")
