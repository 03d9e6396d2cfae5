"""Ports: in use, free, not ours."""

import socket

import pytest

from core.errors import ServiceError
from core.ports import check_port, free_port


@pytest.mark.parametrize("listening", [True, False], ids=["listening", "bound"])
def test_a_port_in_use_is_rejected(listening: bool) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listening:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"127\.0\.0\.1:{port} cannot be used.*in use") as caught:
            check_port("127.0.0.1", port)
    assert "--port" in caught.value.todo


def test_a_free_port_is_accepted_and_stays_free() -> None:
    port = free_port()
    check_port("127.0.0.1", port)
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", port))
        assert mine.getsockname()[1] == port


@pytest.mark.parametrize(
    ("host", "port"),
    [
        pytest.param("no.such.host.invalid", 8000, id="unknown name"),
        pytest.param("192.0.2.1", 8000, id="another machine's address"),
        pytest.param("127.0.0.1", 70_000, id="no port"),
        pytest.param("a..b", 8000, id="no name"),
        pytest.param("h" * 64, 8000, id="too long a name"),
    ],
)
def test_an_address_that_is_not_ours_is_rejected(host: str, port: int) -> None:
    with pytest.raises(ServiceError, match=f"{host}:{port} cannot be used"):
        check_port(host, port)
