"""Proxies: the environment's and apt's own are asked for what leaves the machine, here by apt itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nxc_core.errors import BuildError
from nxc_debian import apt, sources
from tests.operations import operation_in

MIRROR = "http://debian.invalid/debian"  # RFC 2606: no such host, so only a proxy can be asked


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that has nothing, and list what it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("way", ["environment", "apt"])
def test_what_leaves_the_machine_goes_through_the_proxy(
    way: str, proxy: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = proxy
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if way == "environment":
        monkeypatch.setenv("http_proxy", address)
    else:
        settings = tmp_path / "apt.conf"
        settings.write_text(f'Acquire::http::Proxy "{address}";\n')
        monkeypatch.setenv("APT_CONFIG", str(settings))
    op = operation_in(tmp_path, "proxy")
    found = apt.prepare(tmp_path, sources.choose(MIRROR, "bookworm"), "amd64", op)
    with pytest.raises(BuildError):
        apt.update(found, op)
    assert any(path.startswith(f"{MIRROR}/dists/bookworm/") for path in asked), asked
