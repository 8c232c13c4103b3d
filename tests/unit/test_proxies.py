"""Which proxy the variables of the environment name."""

import pytest

from watcher.proxies import proxy_for, proxy_problems

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environ", "url", "expected"),
    [
        ({}, "http://app.example/", None),
        ({"HTTP_PROXY": PROXY}, "http://app.example/", PROXY),
        ({"HTTP_PROXY": PROXY}, "https://app.example/", None),
        ({"https_proxy": PROXY}, "https://app.example/", PROXY),
        ({"ALL_PROXY": PROXY}, "https://app.example/", PROXY),
        ({"ALL_PROXY": "other:1", "HTTPS_PROXY": PROXY}, "https://app.example/", PROXY),
        ({"HTTP_PROXY": "other:1", "http_proxy": PROXY}, "http://app.example/", PROXY),
        ({"HTTP_PROXY": PROXY, "http_proxy": ""}, "http://app.example/", None),
        ({"ALL_PROXY": PROXY, "HTTP_PROXY": " "}, "http://app.example/", None),
        ({"HTTP_PROXY": PROXY}, "http://[app.example/", None),
        ({"HTTP_PROXY": PROXY}, "http://app.example:port/", None),
        ({"HTTP_PROXY": PROXY}, "/relative", None),
    ],
)
def test_which_variable_counts(environ: dict[str, str], url: str, expected: str | None) -> None:
    """The variable of the scheme comes before that for all, lower case before upper, and nothing is off."""
    assert expected == proxy_for(url, environ)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("10.0.0.1", "http://10.0.0.1"),
        ("HTTPS://proxy.example/", "https://proxy.example"),
        ("http://me:p%40ss@proxy.example:1/path", "http://me:p%40ss@proxy.example:1"),
        (" http://[::1]:3128 ", "http://[::1]:3128"),
    ],
)
def test_how_a_proxy_is_written(written: str, expected: str) -> None:
    """The scheme may be left out, credentials stay, and a path means nothing."""
    assert (expected, []) == (
        proxy_for("http://app.example/", {"HTTP_PROXY": written}),
        list(proxy_problems({"HTTP_PROXY": written})),
    )


@pytest.mark.parametrize(
    "written",
    [
        "socks5://me:hidden@proxy.example:1080",
        "ftp://me:hidden@proxy.example",
        "http://me:hid@den@proxy.example",
        "http://me:hidden@",
        "http://me:hidden@proxy.example:0",
        "http://me:hidden@proxy.example:65536",
        "http://me:hidden@proxy.example:port",
        "http://me:hidden@[:]:1",
        "http://me:hidden@300.0.0.1",
        "http://me:hidden@xn--a.example",
        "http://me:hidden@proxy example",
        "http://",
    ],
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_what_is_no_proxy(variable: str, written: str) -> None:
    """A variable that names no proxy which the clients can use is one problem that shows nothing of it."""
    (problem,) = proxy_problems({variable: written})
    assert problem.startswith(f"{variable}: must be http://HOST:PORT")
    assert "hid" not in problem


def test_what_is_not_used_is_no_problem() -> None:
    """A variable that another one overrules may hold anything."""
    environ = {"ALL_PROXY": "socks5://proxy.example", "HTTP_PROXY": PROXY, "https_proxy": ""}
    assert [] == list(proxy_problems(environ))


@pytest.mark.parametrize(
    ("exempt", "url"),
    [
        ("*", "http://app.example/"),
        ("app.example", "http://APP.example/"),
        ("example", "http://app.example/"),
        (".example", "http://app.example/"),
        ("*.Example", "http://app.example/"),
        ("other, app.example", "http://app.example/"),
        ("other app.example", "http://app.example/"),
        ("app.example:80", "http://app.example/"),
        ("app.example:8080", "http://app.example:8080/"),
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("10.1.2.3:90", "http://10.1.2.3:90/"),
        ("::1", "http://[::1]/"),
        ("[::1]", "http://[::1]:90/"),
        ("[::1]:90", "http://[::1]:90/"),
        ("fd00::/8", "http://[fd00::1]/"),
    ],
)
def test_what_is_exempt(exempt: str, url: str) -> None:
    """Names with all below them, addresses and networks, each with a port if wanted, go direct."""
    assert None is proxy_for(url, {"HTTP_PROXY": PROXY, "NO_PROXY": exempt})


@pytest.mark.parametrize(
    "exempt",
    [
        *("", " , ", ".", ":", ":80", "[", "http://[::1", "app.example:81", "pp.example", "app.example.org"),
        *("10.0.0.0/8", "fe80::/10", "10.0.0.0/99", "\udcff", "*app*"),
    ],
)
def test_what_is_not_exempt(exempt: str) -> None:
    """An entry for another host, or one that means nothing, changes nothing."""
    assert PROXY == proxy_for("http://app.example/", {"HTTP_PROXY": PROXY, "NO_PROXY": exempt})
