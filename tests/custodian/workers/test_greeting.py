"""A cluster that does not speak as we do is told at once, by real handshakes."""

import socket
import ssl
import threading

import pytest

from custodian.workers.greeting import AUTHORITY, ENCRYPTION, OWN_KEY, greet
from ray_cluster import encryption, free_port
from stimset.errors import ConfigError, TransportError


@pytest.fixture
def head(tmp_path):
    """Starts a server that answers like a cluster's head; with `settings`, encrypted and asking for a certificate."""
    listeners = []

    def start(settings):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        context = None
        if settings:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings[AUTHORITY])
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_cert_chain(settings["RAY_TLS_SERVER_CERT"], settings[OWN_KEY])

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) if context else connection as channel:
                        channel.sendall(b"settings")
                        channel.recv(1)
                except OSError:
                    continue

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def certificates(tmp_path, name):
    (tmp_path / name).mkdir()
    return encryption(tmp_path / name)


def use(monkeypatch, settings):
    for name in (ENCRYPTION, AUTHORITY, OWN_KEY, "RAY_TLS_SERVER_CERT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def test_equals_understand_each_other(tmp_path, head, monkeypatch):
    ours = certificates(tmp_path, "ours")
    use(monkeypatch, ours)
    greet(head(ours))
    use(monkeypatch, {})
    greet(head({}))


def test_one_encrypted_side_is_told(tmp_path, head, monkeypatch):
    ours = certificates(tmp_path, "ours")
    use(monkeypatch, {})
    with pytest.raises(ConfigError, match="is encrypted: set RAY_USE_TLS=1"):
        greet(head(ours))
    use(monkeypatch, ours)
    with pytest.raises(TransportError, match="need RAY_USE_TLS=1"):
        greet(head({}))


def test_certificates_of_two_authorities_are_told_whoever_refuses(tmp_path, head, monkeypatch):
    ours, theirs = certificates(tmp_path, "ours"), certificates(tmp_path, "theirs")
    use(monkeypatch, ours)
    with pytest.raises(TransportError, match="don't trust each other"):
        greet(head(theirs))
    use(monkeypatch, {**ours, AUTHORITY: theirs[AUTHORITY]})
    with pytest.raises(TransportError, match="don't trust each other"):
        greet(head(theirs))


def test_what_is_missing_is_named(tmp_path, head, monkeypatch):
    ours = certificates(tmp_path, "ours")
    use(monkeypatch, {**ours, OWN_KEY: str(tmp_path / "nowhere")})
    with pytest.raises(ConfigError, match="RAY_TLS_SERVER_KEY must name a file"):
        greet(head(ours))
    with pytest.raises(ConfigError, match="give HOST:PORT"):
        greet("gpu-head")
    with pytest.raises(TransportError, match="is the head up"):
        greet(f"127.0.0.1:{free_port()}")
