"""Pure: which proxy the standard variables name for a URL, the same for every client.

The HTTP client itself reads neither the environment nor `~/.netrc`, where it would also look for passwords:
each call names its proxy. The standard library's `proxy_bypass` knows no networks, which stand in NO_PROXY
in Kubernetes.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PROXY: Final = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?P<user>[^\s/@?#\x00-\x1f\x7f\ud800-\udfff]+@)?"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?P<port>:\d{1,5})?"
    r"(?:/\S*)?",
    re.IGNORECASE,
)


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Returns the URL of the proxy that a call goes through, None for a direct one.

    `http_proxy` or `https_proxy` by the scheme of the call, else `all_proxy`; lower case counts before upper
    case, and an empty variable turns the proxy off. A proxy without a scheme is an HTTP proxy, as for curl.
    `no_proxy` lists domains with their subdomains, addresses and networks, with a port or without, or `*`.
    """
    try:
        parts = urlsplit(url)
        _, value = _named(parts.scheme, environ)
        if not value:  # mostly so, and this is asked for every call
            return None
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:  # no URL; the call itself will report that
        return None
    _, exempt = _variable("no_proxy", environ)
    if host is None or any(_matches(entry, host, port) for entry in re.split(r"[,\s]+", exempt)):
        return None
    return _normal(value)


def proxy_problems(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each variable in use that names no proxy; what it holds may be a password."""
    used = dict(_named(scheme, environ) for scheme in _DEFAULT_PORTS)
    for variable, value in used.items():
        if value and _normal(value) is None:
            yield f"{variable}: must be http://HOST:PORT or https://HOST:PORT; SOCKS is not supported"


def proxies_with_credentials(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields the URL of every proxy that is set with a user or a password, whether or not it is used."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for value in (environ.get(name, "").strip(), environ.get(name.upper(), "").strip()):
            if "@" in value:
                yield value if "://" in value else f"http://{value}"


def _named(scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Returns the variable that counts for a scheme, and its value."""
    variable, value = _variable(f"{scheme}_proxy", environ)
    return (variable, value) if variable in environ else _variable("all_proxy", environ)


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    variable = name if name in environ else name.upper()
    return variable, environ.get(variable, "").strip()


def _normal(value: str) -> str | None:
    found = _PROXY.fullmatch(value)
    port = found["port"] if found else None
    if found is None or (port and not 0 < int(port[1:]) < 2**16) or not _is_host(found["host"]):
        return None
    return f"{(found['scheme'] or 'http').lower()}://{found['user'] or ''}{found['host']}{port or ''}"


def _is_host(host: str) -> bool:
    """Tells whether the clients take this host, which they look at only once they are built."""
    try:
        if re.fullmatch(r"[\d.]+|\[.*\]", host):
            ip_address(host.strip("[]"))
        else:
            host.encode().decode("idna")
    except ValueError:
        return False
    return True


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    # Neither a name for an address nor a network that is none matches in this way.
    with suppress(ValueError):
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    name, _, wanted = entry.rpartition(":")
    if name and wanted.isdecimal():
        return wanted == str(port) and not name.endswith(f":{port}") and _matches(name, host, port)
    domain = entry.lower().removeprefix("*").removeprefix(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))
