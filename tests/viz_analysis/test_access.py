"""From where the viewer may be opened, and by whom: prefixes, proxies, names of hosts, frames and the password."""

import http.client
import json
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from sae_pipeline.errors import UserError
from tests.support.server_process import Server, failure
from viz_analysis.feature_probe_server import create_app
from viz_analysis.web.access import Access, access_from
from viz_analysis.web.password import MOST_WRONG
from viz_analysis.web.process import command_line

PAGE = {"Accept": "text/html,*/*;q=0.8"}
BEYOND = "--host", "0.0.0.0"


def opened(runs: Path, access: Access, log: str | None = None) -> FlaskClient:
    """A client of a server with a built viewer."""
    dist = runs.parent / "dist"
    dist.mkdir(exist_ok=True)
    (dist / "index.html").write_text('<base href="/" /><title>viewer</title>')
    return create_app(runs, access=access, viewer_dir=dist, access_log=log).test_client()


def access(*flags: str) -> Access:
    return access_from(command_line().parse_args(flags))


# --- prefixes and proxies ---


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/", "./"),
        ("/features", "./"),
        ("/features/12", "../"),
        ("/features/12?q=a/b", "../"),
        ("/a/b/c", "../../"),
        ("/features/1%2F2", "../"),
        ("/a%2fb", "./"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/user/me/proxy/8765"])
def test_a_page_says_where_the_viewer_is_from_it(runs: Path, prefix: str, path: str, base: str) -> None:
    """The same holds behind a proxy that removes a prefix of which the server was told nothing."""
    page = opened(runs, Access(base_path=prefix)).get(prefix + path)
    assert page.status_code == 200 and f'<base href="{base}" />' in page.text


def test_everything_lies_below_the_base_path(runs: Path) -> None:
    client = opened(runs, Access(base_path="/some/prefix"))
    assert client.get("/some/prefix/api/health").json["status"] == "ok"
    slash = client.get("/some/prefix")
    assert slash.status_code == 308 and slash.headers["Location"] == "./prefix/"
    locked = opened(runs, Access(base_path="/some/prefix", password="x"))
    asked = locked.get("/some/prefix?token=x&run=1", headers=PAGE)  # the form would be relative to /some/
    assert asked.status_code == 308 and asked.headers["Location"] == "./prefix/?token=x&run=1"
    for path in ("/", "/api/health", "/some", "/some/prefixes/"):
        refused = client.get(path)
        assert refused.status_code == 404 and "--base-path" in refused.json["error"]["message"]


FORWARDED = {"X-Forwarded-Host": "box.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/p"}


@pytest.mark.parametrize(("trusted", "status"), [(False, 403), (True, 200)])
def test_a_proxy_is_believed_only_when_it_is_trusted(runs: Path, trusted: bool, status: int) -> None:
    """A proxy that gives its own Host, and a browser that sends no Sec-Fetch-Site."""
    client = opened(runs, Access(trust_proxy=trusted, allowed_hosts=("box.example",)))
    seen = client.get("/api/labels").headers["ETag"]
    headers = {"Origin": "https://box.example", "If-Match": seen, **FORWARDED}
    changed = client.put("/api/labels", json={"labels": {}}, headers=headers)
    assert changed.status_code == status
    assert status == 200 or "--trust-proxy" in changed.json["error"]["message"]


def test_a_forwarded_host_is_guarded_too(runs: Path) -> None:
    assert opened(runs, Access(trust_proxy=True)).get("/api/run", headers=FORWARDED).status_code == 403


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1:8765", 200), ("[::1", 403), ("evil.example:8765", 403)])
def test_a_forwarded_host_does_not_hide_the_own_one(runs: Path, host: str, status: int) -> None:
    """A page whose name has been pointed at this machine can send X-Forwarded-Host itself."""
    client = opened(runs, Access(trust_proxy=True))
    answer = client.get("/api/run", headers={"Host": host, "X-Forwarded-Host": "localhost"})
    assert answer.status_code == status


# --- names and frames ---


@pytest.mark.parametrize(
    ("host", "allowed", "status"),
    [
        ("gpu-box:8765", ("gpu-box",), 200),
        ("gpu-box", (), 403),
        ("gpu-box.evil.example", ("gpu-box",), 403),
        ("a.example.org", ("*.example.org",), 200),
        ("a.b.example.org", ("*.example.org",), 200),
        ("example.org", ("*.example.org",), 403),
        ("badexample.org", ("*.example.org",), 403),
        ("anything.at.all", ("*",), 200),
    ],
)
def test_further_names_of_the_server(runs: Path, host: str, allowed: tuple[str, ...], status: int) -> None:
    answer = opened(runs, Access(allowed_hosts=allowed)).get("/api/health", headers={"Host": host})
    assert answer.status_code == status
    if status == 403:
        assert f"--allow-host {host}." in answer.json["error"]["message"]


def test_a_browser_is_refused_with_a_page(client: FlaskClient) -> None:
    page = client.get("/", headers={"Host": 'gpu-box<b>"', **PAGE})
    assert page.status_code == 403 and page.mimetype == "text/html" and "--allow-host NAME" in page.text
    assert "<b>" not in page.text and "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


def test_only_named_sites_may_frame_the_viewer(runs: Path) -> None:
    allowed = access("--frame-ancestors", "'self'  https://notes.example.org:*")
    policy = opened(runs, allowed).get("/").headers["Content-Security-Policy"]
    assert policy.endswith("frame-ancestors 'self' https://notes.example.org:*")


@pytest.mark.parametrize(
    "flags",
    [
        ("--allow-host", "https://gpu-box"),
        ("--allow-host", "gpu-box/x"),
        ("--allow-host", ""),
        ("--base-path", "no-slash"),
        ("--base-path", "/a//b"),
        ("--base-path", "/a?b"),
        ("--base-path", "/a/.."),
        ("--base-path", "/./a"),
        ("--frame-ancestors", "x; script-src *"),
        ("--frame-ancestors", ""),
        ("--password", "a", "--no-password"),
    ],
)
def test_flags_that_mean_nothing_are_refused(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        access(*flags)
    assert stopped.value.code == 2 and flags[0] in capsys.readouterr().err


# --- the password ---


def test_only_beyond_localhost_there_is_a_password_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1"):
        assert access("--host", host).password is None
    first, second = access(*BEYOND), access("--host", "gpu-box")
    assert first.password != second.password and len(first.password or "") >= 32
    assert second.address(8765, "/?a=b") == f"http://gpu-box:8765/?a=b&token={second.password}"
    assert access(*BEYOND, "--no-password").password is None
    monkeypatch.setenv("SAE_EXPLORER_PASSWORD", "from the environment")
    assert access().password == access(*BEYOND).password == "from the environment"
    assert "token" not in access(*BEYOND).address(8765)
    (tmp_path / "secret").write_text("from a file\n")
    assert access("--password-file", str(tmp_path / "secret")).password == "from a file"
    assert access("--password", "from a flag").password == "from a flag"
    (tmp_path / "marked").write_bytes("\ufeffgénie\r\n".encode())
    assert access("--password-file", str(tmp_path / "marked")).password == "génie"
    wrong = ("empty", b"\n"), ("blank", b"  "), ("lines", b"a\nb"), ("binary", b"\xff\xfe"), ("folder", None)
    for name, content in wrong:
        (tmp_path / name).write_bytes(content) if content else (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=r"The password .*\.$"):
            access("--password-file", str(tmp_path / name))


@pytest.fixture
def locked(runs: Path) -> FlaskClient:
    return opened(runs, Access(password="open sesame"))


def test_the_token_in_the_address_becomes_a_cookie(locked: FlaskClient) -> None:
    welcome = locked.get("/features/12?q=a%26b&token=open+sesame&where=x%3Ay", headers=PAGE)
    assert welcome.status_code == 303 and welcome.headers["Location"] == "./12?q=a%26b&where=x%3Ay"
    cookie = welcome.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "sesame" not in cookie and "Secure" not in cookie
    assert "<title>viewer" in locked.get("/features/12", headers=PAGE).text
    assert locked.get("/api/run").status_code == 200
    assert locked.get("/?token=old", headers=PAGE).headers["Location"] == "./"


def test_without_it_there_is_only_a_form(locked: FlaskClient, runs: Path) -> None:
    asked = locked.get("/features/12?q=<b>", headers=PAGE)
    assert asked.status_code == 401 and 'action="../login"' in asked.text and "<b>" not in asked.text
    assert 'value="features/12?q=%3Cb%3E"' in asked.text and "run-00" not in asked.text
    for path in ("/api/run", "/api/openapi.json", "/theme.js", "/assets/index-a1.js", "/api/no_such"):
        refused = locked.get(path)
        assert refused.status_code == 401 and refused.json["error"]["code"] == "password_needed", path
    health = locked.get("/api/health")
    assert health.status_code == 204 and health.data == b""
    wrong = locked.post("/login", data={"password": "open", "next": "features/12"})
    assert wrong.status_code == 401 and "not the password" in wrong.text and locked.get("/api/run").status_code == 401
    right = locked.post("/login", data={"password": "open sesame", "next": "features/12?q=%3Cb%3E"})
    assert right.status_code == 303 and right.headers["Location"] == "./features/12?q=%3Cb%3E"
    assert locked.get("/api/run").json["run_id"] == "run-002"
    other = opened(runs, Access(password="open sesame"))
    cookie = right.headers["Set-Cookie"].partition("=")[0]
    other.set_cookie(cookie, "open sesame")  # a cookie is a session, and no password
    assert other.get("/api/run").status_code == 401


def test_servers_of_one_host_keep_their_cookies(runs: Path) -> None:
    """A browser sends the cookies of a host to all its ports, so a second login must not replace the first."""
    clients = [opened(runs, Access(password="open sesame")) for _ in range(2)]
    names = set()
    for client in clients:
        header = client.post("/login", data={"password": "open sesame"}).headers["Set-Cookie"]
        names.add(header.partition("=")[0])
        name, _, value = header.partition(";")[0].partition("=")
        for other in clients:
            other.set_cookie(name, value)
    assert len(names) == 2 and [client.get("/api/run").status_code for client in clients] == [200, 200]


@pytest.mark.parametrize("path", ["//evil", "//evil.example/x", "/a//b", "///"])
@pytest.mark.parametrize("prefix", ["", "/some/prefix"])
def test_doubled_slashes_lead_nowhere(runs: Path, prefix: str, path: str) -> None:
    """Such a path is a page of the viewer; a redirect to it would be one to another host."""
    page = opened(runs, Access(base_path=prefix)).get("/", environ_overrides={"PATH_INFO": prefix + path})
    assert page.status_code == 200 and "Location" not in page.headers


@pytest.mark.parametrize("following", ["//evil.example", "/\\evil.example", "https://evil.example", "\r\nX: y", "é"])
def test_the_form_leads_nowhere_else(locked: FlaskClient, following: str) -> None:
    welcome = locked.post("/login", data={"password": "open sesame", "next": following})
    assert welcome.status_code == 303 and welcome.headers["Location"].startswith("./")


@pytest.mark.parametrize(
    ("header", "status"),
    [("Bearer open sesame", 200), ("bearer open sesame", 200), ("Bearer open", 401), ("Basic open sesame", 401)],
)
def test_scripts_send_a_header(locked: FlaskClient, header: str, status: int) -> None:
    assert locked.get("/api/run", headers={"Authorization": header}).status_code == status
    assert locked.get("/api/run").status_code == 401


def test_a_header_may_be_in_utf_8_or_latin_1(runs: Path) -> None:
    client = opened(runs, Access(password="génie ☃"))
    utf_8 = "Bearer génie ☃".encode().decode("latin-1")  # what WSGI makes of curl's bytes
    assert client.get("/api/run", headers={"Authorization": utf_8}).status_code == 200
    client = opened(runs, Access(password="génie"))
    assert client.get("/api/run", headers={"Authorization": "Bearer génie "}).status_code == 200


def test_attempts_at_a_random_token_have_no_limit(runs: Path) -> None:
    client = opened(runs, Access(password="random", password_is_random=True))
    for n in range(MOST_WRONG + 5):
        assert client.get("/api/run", headers={"Authorization": f"Bearer {n}"}).status_code == 401
    assert client.get("/?token=random", headers=PAGE).status_code == 303


def test_attempts_are_limited(locked: FlaskClient) -> None:
    for n in range(MOST_WRONG):
        assert locked.get("/api/run", headers={"Authorization": f"Bearer {n}"}).status_code == 401
    late = locked.post("/login", data={"password": "open sesame"}, headers=PAGE)
    assert late.status_code == 429 and 0 < int(late.headers["Retry-After"]) <= 60 and "seconds" in late.text


def test_other_sites_send_no_passwords(locked: FlaskClient) -> None:
    """Their guesses would use up the attempts of those who know it."""
    headers = PAGE | {"Sec-Fetch-Site": "cross-site"}
    for _ in range(MOST_WRONG + 1):
        assert locked.post("/login", data={"password": "guess"}, headers=headers).status_code == 403
    assert locked.post("/login", data={"password": "open sesame"}).status_code == 303


def test_a_secure_page_has_a_secure_cookie_of_its_path(runs: Path) -> None:
    client = opened(runs, Access(password="x", trust_proxy=True, allowed_hosts=("box.example",)))
    cookie = client.get("/?token=x", headers=FORWARDED | PAGE).headers["Set-Cookie"]
    assert "Secure" in cookie and "Path=/p/" in cookie


def test_the_log_keeps_no_token(runs: Path, tmp_path: Path) -> None:
    client = opened(runs, Access(password="x"), str(tmp_path / "log"))
    client.get("/?q=a&token=open+sesame&sort=loss")
    assert json.loads((tmp_path / "log").read_text())["query"] == "q=a&token=…&sort=loss"


def test_the_program_prints_the_address_with_its_token(runs: Path) -> None:
    """On all addresses of the machine, behind a trusted proxy, whose headers also get through the sockets."""
    server = Server("--analysis-dir", str(runs), *BEYOND, "--trust-proxy")
    try:
        token = re.search(r"/\?token=(\S+)", server.line)
        assert token and len(token[1]) >= 32
        origin, headers = server.address.partition("/?")[0], {"Authorization": f"Bearer {token[1]}"}
        port = origin.rpartition(":")[2]
        for forwarded, status in (("localhost", 200), ("evil.example", 403)):
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
            connection.request("GET", "/api/run", headers=headers | {"X-Forwarded-Host": forwarded})
            assert connection.getresponse().status == status
        assert server.process.stdout
        assert server.process.stdout.readline().endswith(f" http://127.0.0.1:{port}/?token={token[1]}\n")
        assert "--no-password" in server.process.stdout.readline()
    finally:
        server.stop(15)


def test_the_program_refuses_an_empty_password() -> None:
    assert failure("--password", "").endswith("--no-password.")
