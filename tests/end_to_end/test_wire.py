"""Both command lines over a real line: enrol, serve, list, pull; then everything that can go wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import tiny_release
import wire_world
from consumer.download import RetryPolicy
from stimset.errors import ContentMismatch, PolicyDenied, TransportError
from wire_proxy import Proxy

SHARD = "stimuli-00000.safetensors"
READ = "/stimset.v1.ReleaseService/ReadFile"


def run(side, *arguments, **environment):
    code = f"from {side}.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUSTODIAN_PASSPHRASE": tiny_release.PASSPHRASE, **environment},
        timeout=60,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def run_json(side, *arguments):
    code, out, err = run(side, *arguments, "--format", "json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def world(tmp_path):
    """A release whose one shard has some 10 MiB."""
    made = wire_world.World.make(tmp_path, shards=(160,), spec=wire_world.LARGE_SPEC)
    yield made
    made.close()


def pull(world, client, on_progress=lambda done, total, file: None):
    release_id = world.release.folder.name
    return client.pull(release_id, world.consumer.releases / release_id, world.trusted_root, on_progress)


def read_bytes(daemon, code=None):
    time.sleep(0.2)
    lines = daemon.events(event="call", method=READ, **({"code": code} if code else {}))
    return sum(line["sent_bytes"] for line in lines)


def total_size(world):
    return sum(
        p.stat().st_size
        for p in world.release.folder.iterdir()
        if p.name not in ("statement.json", "provenance.dsse.json")
    )


def test_the_commands_from_nothing_to_a_verified_release(tmp_path):
    hospital, acme, sent = tmp_path / "hospital", tmp_path / "acme", tmp_path / "for-acme"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    made = run_json("custodian", "init", "--home", hospital, "--name", "St Mary", "--address", address)
    asked = run_json("consumer", "init", "--home", acme, "--name", "Acme")
    added = run_json(
        "custodian", "partner", "add", "acme", "--home", hospital, "--csr", asked["request"], "--out", sent,
        "--key-fingerprint", asked["key_fingerprint"], "--grant", "ti*",
    )  # fmt: skip
    assert added["root_fingerprint"] == made["root_fingerprint"]
    code, _, err = run("consumer", "trust", "add", sent, "--home", acme, "--fingerprint", "0" * 64)
    assert (code, err.count("\n")) == (6, 1)
    run_json("consumer", "trust", "add", sent, "--home", acme, "--fingerprint", made["root_fingerprint"])
    code, _, err = run("consumer", "list", "--home", acme)
    assert (code, "can't be reached" in err, err.count("\n")) == (12, True, 1)

    from custodian.config import Home

    home = Home.at(hospital)
    tiny_release.make(hospital, home=home)
    daemon = wire_world.Daemon.start(home, tmp_path / "daemon", address=address)
    try:
        checks = run_json("custodian", "doctor", "--home", hospital)
        assert checks["failed"] == 0
        assert "daemon answers" in next(c["found"] for c in checks["checks"] if c["check"] == "port")
        (offer,) = run_json("consumer", "list", "--home", acme)["releases"]
        assert (offer["release_id"], offer["simulated"], offer["here"]) == ("tiny-0001", True, False)
        pulled = run_json("consumer", "pull", "--home", acme)
        assert (pulled["release"], pulled["stimuli"], pulled["simulated"]) == ("tiny-0001", 5, True)
        before = read_bytes(daemon)
        assert run_json("consumer", "pull", "tiny-0001", "--home", acme)["release"] == "tiny-0001"
        assert read_bytes(daemon) == before
        run_json("custodian", "partner", "revoke", "acme", "--home", hospital)
        code, _, err = run("consumer", "list", "--home", acme)
        assert (code, "revoked" in err, err.count("\n")) == (11, True, 1)
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def test_a_daemon_killed_in_mid_stream_and_started_again(world):
    first = world.start()
    restarted = []

    def on_progress(done, total, file):
        if done > 3 << 20 and not restarted:
            first.kill()
            restarted.append(world.start(first.address))
            restarted.append(done)

    with world.client(first.address) as client:
        release = pull(world, client, on_progress)
    assert release.stimuli().values.shape == (160, 1, 16384)
    second, done = restarted
    # What was on its way may still have come in after `done`; nothing before it was asked for again.
    assert read_bytes(second) <= total_size(world) - done + 4096
    assert second.stop() == 0


def test_a_line_that_breaks_again_and_again(world):
    daemon = world.start()
    proxy = Proxy(daemon.address, stall_after=3 << 20, cut=True)
    try:
        with world.client(proxy.address) as client:
            pull(world, client)
        assert len(daemon.events(event="call", method=READ)) > len(list(world.release.folder.iterdir())) - 2
        # A file of 10 MiB comes through a line that is cut every 3 MiB only if each call goes on where the last one
        # stopped. What a cut costs is up to the load: a client that lags loses what waits in its buffers.
        assert max(path.stat().st_size for path in world.release.folder.iterdir()) > 3 * (3 << 20)
        assert proxy.cuts >= 2
    finally:
        proxy.close()


def test_a_far_custodian_is_reached_at_the_first_attempt(world):
    daemon = world.start()
    proxy = Proxy(daemon.address, delay_s=0.4)
    try:
        with world.client(proxy.address, RetryPolicy(short_attempts=1)) as client:
            assert [found.release_id for found in client.list_releases()] == [world.release.folder.name]
    finally:
        proxy.close()


def test_a_client_killed_in_mid_stream_goes_on_where_it_was(world):
    daemon = world.start()
    proxy = Proxy(daemon.address, stall_after=4 << 20)
    release_id = world.release.folder.name
    command = [sys.executable, "-c", "from consumer.cli import main; main()", "pull", release_id]
    killed = subprocess.Popen(
        [*command, "--home", world.consumer.root, "--address", proxy.address],
        stderr=subprocess.DEVNULL,
    )
    assert proxy.stalled.wait(20)
    partial = world.consumer.releases / f".partial-{release_id}" / SHARD
    deadline = time.monotonic() + 10
    while partial.stat().st_size < 2 << 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    proxy.close()
    assert daemon.stop() == 0

    held = sum(p.stat().st_size for p in partial.parent.iterdir() if p.is_file())
    assert held >= 2 << 20
    again = world.start()
    with world.client(again.address) as client:
        pull(world, client)
    assert again.stop() == 0
    assert total_size(world) - held <= read_bytes(again) <= total_size(world) - held + 4096
    assert [p.name for p in world.consumer.releases.iterdir()] == [release_id]


def test_a_file_tampered_with_on_the_custodians_disk(world):
    path = world.release.folder / SHARD
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    daemon = world.start()
    with world.client(daemon.address) as client, pytest.raises(ContentMismatch, match="other bytes than it signed"):
        pull(world, client)
    assert not (world.consumer.releases / world.release.folder.name).exists()


def test_an_impostor_at_the_address_is_not_talked_to(world, tmp_path):
    impostor = wire_world.World.make(tmp_path / "impostor")
    daemon = impostor.start()
    began = time.monotonic()
    try:
        with world.client(daemon.address) as client, pytest.raises(TransportError, match="does not show a certificate"):
            client.list_releases()
        assert time.monotonic() - began < 5
    finally:
        impostor.close()


def test_an_envelope_that_is_too_large_for_one_message(world):
    fault = "from custodian.service import servicers; servicers.INLINE_BYTES = 0"
    daemon = wire_world.Daemon.start(world.home, world.root / "small", prelude=fault)
    try:
        with world.client(daemon.address) as client:
            assert client.envelope("tiny-0001") == (world.release.folder / "provenance.dsse.json").read_bytes()
    finally:
        daemon.kill()


def test_a_silent_line_ends_by_the_deadline(world):
    daemon = world.start()
    proxy = Proxy(daemon.address, stall_after=2 << 20)
    policy = RetryPolicy(attempts=2, first_wait_s=0.05, longest_wait_s=0.1, call_s=0.8)
    began = time.monotonic()
    try:
        with world.client(proxy.address, policy) as client, pytest.raises(TransportError, match="kept, pull again"):
            pull(world, client)
    finally:
        proxy.close()
    assert time.monotonic() - began < 15


def test_a_release_that_is_not_granted(world):
    consumer, custodian = wire_world.enrol_consumer(world.root, world.home, "other", series=("none",))
    daemon = world.start()
    from consumer.client import Client

    with Client.to(custodian, consumer, address=daemon.address) as client:
        assert client.list_releases() == ()
        with pytest.raises(PolicyDenied, match="not granted"):
            client.pull("tiny-0001", consumer.releases / "tiny-0001", world.trusted_root)
