"""What an address must look like. Looked at once, where settings are read, and never shown.

An address may hold a password. A password that is not percent-encoded ends up in what a client
takes for the host, the port or the database, and from there in its messages: so each part is
checked against what it can be. Each function says what is wrong with an address, as the end of a
sentence that begins with the setting's name, or None. None of them says any part of it.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["http_fault", "kafka_fault", "lake_fault", "postgres_fault"]

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_SOCKET = re.compile("%2[Ff][A-Za-z0-9._%-]*")
"""A folder that holds Postgres's socket."""
_DATABASE = re.compile(r"[^@:/?#'\"\\]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_ENCODE = (
    "write %40 for an @, %3A for a :, %2F for a /, %3F for a ? and %23 for a # inside the user or"
    " the password"
)


def postgres_fault(url: str) -> str | None:
    """postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with libpq's options after a ?."""
    if fault := _stray(url):
        return fault
    scheme, separator, rest = url.partition("://")
    if scheme.startswith(("postgresql+", "postgres+")):
        return "names a driver, as SQLAlchemy does: begin it with postgresql:// alone"
    if not separator or scheme not in ("postgresql", "postgres"):
        return "does not begin with postgresql://"
    authority, tail = _split(rest, "/?")
    path, _, query = tail.partition("?")
    if fault := _authority_fault(authority, tail, libpq=True, optional="host=" in query):
        return fault
    if len(path) > 1 and not _DATABASE.fullmatch(path[1:]):
        return f"has a database name that is none; {_ENCODE}"
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(url)
    except ProgrammingError:  # it says which part, in its own words
        return "has an option after its ? that libpq does not know, or that has no value"
    return None


def http_fault(url: str) -> str | None:
    """http(s)://HOST:PORT, perhaps with USER:PASSWORD@ before the host and a path after it."""
    if fault := _stray(url):
        return fault
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("http", "https"):
        return "does not begin with http:// or https://"
    authority, tail = _split(rest, "/?#")
    if fault := _authority_fault(authority, tail):
        return fault
    if "?" in tail or "#" in tail:
        return "has a ? or a # after its host, where a server's address has none"
    if not tail.isascii():
        return "has a path that is not percent-encoded"
    try:
        urlsplit(url)
    except ValueError:  # brackets, or signs that look like others; it shows them
        return "has a user or a password that is not percent-encoded"
    return None


def kafka_fault(servers: str) -> str | None:
    """HOST:PORT[,HOST:PORT]."""
    if not servers.strip():
        return "is empty"
    if "://" in servers:
        return "has a scheme: write HOST:PORT[,HOST:PORT] alone"
    if "@" in servers:
        return "holds a user: write HOST:PORT[,HOST:PORT] alone"
    if not all(_is_host(server.strip(), port=True) for server in servers.split(",")):
        return "is not HOST:PORT[,HOST:PORT], with ports from 1 to 65535"
    return None


def lake_fault(root: str) -> str | None:
    """A folder, or SCHEME://BUCKET/FOLDER without user, password and options."""
    if "\0" in root or not root.isprintable():
        return "holds a control character"
    scheme, separator, rest = root.partition("://")
    if not separator:
        if _SCHEME.match(root):
            return "has a scheme that no // follows: write SCHEME://BUCKET/FOLDER"
        if re.search(":.*@", root):
            return "looks like an address with a password, and is a folder's name"
        return None
    if not _SCHEME.fullmatch(scheme + ":"):
        return "has something before its :// that is no scheme"
    authority, tail = _split(rest, "/?#")
    # A container at an account of Azure's is the only user that a store's name has.
    azure = scheme in ("abfs", "abfss", "wasb", "wasbs")
    if any(sign in tail for sign in "@?#") or ("@" in authority and not azure):
        return "holds a user, a password or an option: give those to Spark and pyarrow themselves"
    container, _, host = authority.rpartition("@")
    if ":" in container or (host and not _is_host(host)):
        return "has something other than a bucket, or HOST:PORT, after its ://"
    return None


def _stray(url: str) -> str | None:
    if not url:
        return "is empty"
    if not url.isprintable() or " " in url:
        return "holds a space or a control character (write %20 for a space)"
    if re.search("%(?![0-9A-Fa-f]{2})", url):
        return "has a % that no two hex digits follow (write %25 for a %)"
    if "%00" in url:
        return "holds %00, which stands for nothing"
    return None


def _split(rest: str, signs: str) -> tuple[str, str]:
    """Before the first of `signs`, and from there on."""
    found = re.search(f"[{signs}]", rest)
    return (rest[: found.start()], rest[found.start() :]) if found else (rest, "")


def _authority_fault(
    authority: str, tail: str, *, libpq: bool = False, optional: bool = False
) -> str | None:
    """Of [USER[:PASSWORD]@]HOST[:PORT], where `tail` is what follows it.

    `libpq` takes several hosts, and sockets.
    """
    if "@" in tail or authority.count("@") > 1:
        return f"has an @ where none can be: {_ENCODE}"
    user, at, hosts = authority.rpartition("@")
    if at and not user.partition(":")[0]:
        return "has no user before its @"
    if not hosts:
        return None if optional else "names no host"
    if not all(
        _is_host(host) or (libpq and _SOCKET.fullmatch(host))
        for host in (hosts.split(",") if libpq else [hosts])
    ):
        return f"has something other than HOST:PORT where the host should be; {_ENCODE}"
    return None


def _is_host(host: str, *, port: bool = False) -> bool:
    """Whether it is HOST or HOST:PORT; with `port` the latter."""
    found = _HOST_AND_PORT.fullmatch(host)
    if found is None:
        return False
    try:
        found["host"].encode("idna")  # as whoever looks it up will
    except UnicodeError:  # an empty label, or one of more than 63
        return False
    if found["port"] is None:
        return not port
    return 1 <= int(found["port"]) <= 65_535
