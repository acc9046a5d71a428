"""Java for Spark: the one that is named, or the one on the path, or a clear word on how to get one."""

import os
import re
import shutil
import subprocess
from pathlib import Path

WANTED = (17, 21, 25)


class JavaMissing(RuntimeError):
    """No Java that Spark 4.3 runs on was found; says how to install one."""


def java_version(java: str) -> int | None:
    """The feature version of a java executable, or None if it does not say."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    found = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return int(found.group(1)) if found else None


def find_java() -> Path:
    """The home of a Java that Spark runs on: JAVA_HOME's, else the one on the path; raises JavaMissing."""
    candidates = [str(Path(home) / "bin" / "java") for home in (os.environ.get("JAVA_HOME"),) if home]
    candidates += [java for java in (shutil.which("java"),) if java]
    for java in candidates:
        if java_version(java) in WANTED:
            return Path(java).resolve().parent.parent
    raise JavaMissing(
        f"Spark needs Java {', '.join(map(str, WANTED))} and none was found. On Debian or Ubuntu: "
        "apt-get install openjdk-17-jre-headless; elsewhere install a JDK and set JAVA_HOME."
    )
