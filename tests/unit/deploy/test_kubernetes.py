"""The manifests for a cluster, as kubectl builds them: the API's own schemas, the rights, the names that must agree.

No cluster ran them.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from core.errors import SettingError
from core.sign import Sign
from gateway.parks import Parks
from gateway.server import DRAIN_MARGIN
from gateway.settings import GatewaySettings, read_gateway_settings
from pipeline.environment import OFFLINE
from tests.conftest import ROOT

FOLDER = ROOT / "deploy/kubernetes"
KUBECTL = shutil.which("kubectl")
VERSIONS = ("1.29", "1.33", "1.37")  # policy/v1 and the rest are in all of them
WORKLOADS = ("signboard-vllm", "signboard-gateway")

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed here: nothing builds the manifests")
Manifests = list[dict[str, Any]]


def build(folder: Path) -> Manifests:
    """Return what `kubectl apply -k` would send."""
    command = [KUBECTL or "", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def base() -> Manifests:
    return build(FOLDER / "base")


@pytest.fixture(scope="module")
def example() -> Manifests:
    return build(FOLDER / "example")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """The example with two gateways on one PostgreSQL."""
    folder = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    (folder / "two").mkdir()
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../example"],
        "components": ["../postgresql"],
    }
    (folder / "two/kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return build(folder / "two")


def find(manifests: Manifests, kind: str, name: str = "") -> dict[str, Any]:
    (one,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"].startswith(name)]
    return one


def pod(manifests: Manifests, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = find(manifests, "Deployment", name)["spec"]["template"]["spec"]
    return spec


def container(manifests: Manifests, name: str) -> dict[str, Any]:
    (one,) = pod(manifests, name)["containers"]
    return dict(one)


def images(manifests: Manifests) -> Iterator[str]:
    for name in WORKLOADS:
        yield container(manifests, name)["image"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_api_takes_every_manifest(version: str, base: Manifests, example: Manifests, two: Manifests) -> None:
    for one in [*base, *example, *two]:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_schemas_notice_a_misspelt_field(base: Manifests) -> None:
    wrong = find(base, "Deployment", "signboard-vllm")
    wrong = wrong | {"spec": wrong["spec"] | {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_pod_has_no_rights_and_writes_only_where_it_must(name: str, base: Manifests) -> None:
    assert find(base, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    spec, one = pod(base, name), container(base, name)
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not spec["automountServiceAccountToken"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all({"emptyDir", "persistentVolumeClaim"} & set(volume) for volume in spec["volumes"])


@pytest.mark.parametrize("name", WORKLOADS)
def test_services_put_no_variables_into_a_pod(name: str, base: Manifests) -> None:
    """A service signboard-gateway would set SIGNBOARD_GATEWAY_PORT=tcp://…, which is our setting for the port."""
    assert pod(base, name)["enableServiceLinks"] is False


def test_checkpoints_are_only_read(base: Manifests) -> None:
    (mount,) = [one for one in container(base, "signboard-vllm")["volumeMounts"] if one["name"] == "runs"]
    assert mount == {"name": "runs", "mountPath": "/signboard/runs", "readOnly": True}
    (volume,) = [one for one in pod(base, "signboard-vllm")["volumes"] if one["name"] == "runs"]
    claim = find(base, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
    assert volume["persistentVolumeClaim"]["readOnly"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_vllm_gets_a_gpu_is_offline_and_has_time_to_start(base: Manifests) -> None:
    one = container(base, "signboard-vllm")
    assert one["resources"]["limits"]["nvidia.com/gpu"] == one["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert OFFLINE.items() <= {variable["name"]: variable["value"] for variable in one["env"]}.items()
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] >= 900
    assert one["livenessProbe"]["exec"]["command"][:4] == ["python3", "-m", "clients", "ping"]
    recipe = one["command"][-1].removeprefix("--recipe=")
    assert (ROOT / recipe).is_file()


def test_a_model_that_is_down_does_not_take_the_gateway_away(base: Manifests) -> None:
    """/health is 503 then; sensors must still be heard, and the page must still say what is wrong."""
    one = container(base, "signboard-gateway")
    assert "tcpSocket" in one["readinessProbe"]
    assert "httpGet" not in one["livenessProbe"]
    compile(one["livenessProbe"]["exec"]["command"][2], "probe", "exec")


def test_the_grace_period_outlasts_the_drain(base: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNBOARD_GATEWAY_KEYS", "")
    drain = read_gateway_settings().deadline + DRAIN_MARGIN
    for name in WORKLOADS:
        assert pod(base, name)["terminationGracePeriodSeconds"] > drain


@pytest.mark.parametrize("built", ["base", "example"])
def test_the_settings_are_the_gateways(
    built: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests: Manifests = request.getfixturevalue(built)
    config = find(manifests, "ConfigMap", "signboard-gateway")
    (given,) = [
        one["configMapRef"] for one in container(manifests, "signboard-gateway")["envFrom"] if "configMapRef" in one
    ]
    assert given["name"] == config["metadata"]["name"]
    for name, value in config["data"].items():
        monkeypatch.setenv(name, value)
    settings = read_gateway_settings()
    service = find(manifests, "Service", "signboard-vllm")
    assert settings.model_url == f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/v1"
    mounts = [mount["mountPath"] for mount in container(manifests, "signboard-gateway")["volumeMounts"]]
    assert any(settings.database.startswith(f"sqlite:///{mount}/") for mount in mounts)


def test_an_overlay_brings_its_own_parks_and_reaches_their_signs(example: Manifests, tmp_path: Path) -> None:
    files, config = (find(example, "ConfigMap", name)["data"] for name in ("signboard-parks", "signboard-gateway"))
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    parks = Parks(tmp_path, config["SIGNBOARD_GATEWAY_PARK"], Sign.parse(config["SIGNBOARD_SIGN"]), "Asia/Seoul")
    (mount,) = [one for one in container(example, "signboard-gateway")["volumeMounts"] if one["name"] == "parks"]
    assert Path(mount["mountPath"]) == Path("/signboard") / GatewaySettings.model_fields["parks"].default
    volume = next(one for one in pod(example, "signboard-gateway")["volumes"] if one["name"] == "parks")
    assert volume["configMap"]["name"] == find(example, "ConfigMap", "signboard-parks")["metadata"]["name"]
    (rule,) = find(example, "NetworkPolicy", "signboard-gateway-signs")["spec"]["egress"]
    reached = {
        f"{port['protocol'].lower()}://{place['ipBlock']['cidr'].removesuffix('/32')}:{port['port']}"
        for place in rule["to"]
        for port in rule["ports"]
    }
    assert parks.signs()
    assert {sign.address for sign in parks.signs()} <= reached


def test_no_secret_is_in_the_manifests(base: Manifests, example: Manifests) -> None:
    assert not [one for one in [*base, *example] if one["kind"] == "Secret"]
    assert {"secretRef": {"name": "signboard-gateway-secrets"}} in container(base, "signboard-gateway")["envFrom"]
    named = {name for one in [*base, *example] if one["kind"] == "ConfigMap" for name in one["data"]}
    assert not [name for name in named if re.search("KEYS|PASSWORD|TOKEN", name)]


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_selects_pods_finds_them(name: str, base: Manifests) -> None:
    labels = find(base, "Deployment", name)["spec"]["template"]["metadata"]["labels"].items()
    assert find(base, "Service", name)["spec"]["selector"].items() <= labels
    for kind, field in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        assert find(base, kind, name)["spec"][field]["matchLabels"].items() <= labels
    assert find(base, "PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1, (
        "0 would block a node's drain for ever"
    )


def test_nothing_is_allowed_that_no_policy_names(base: Manifests) -> None:
    everything = find(base, "NetworkPolicy", "nothing")["spec"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    vllm = find(base, "NetworkPolicy", "signboard-vllm")["spec"]
    assert "egress" not in vllm, "vLLM talks to nobody"
    callers = [one.get("podSelector", {}).get("matchLabels", {}) for one in vllm["ingress"][0]["from"]]
    assert {"app.kubernetes.io/name": "signboard-gateway"} in callers


def test_the_gateway_is_never_twice_on_one_sqlite_file(base: Manifests) -> None:
    spec = find(base, "Deployment", "signboard-gateway")["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")


def test_two_gateways_need_a_postgresql_and_nothing_of_their_own(
    two: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find(two, "Deployment", "signboard-gateway")["spec"]
    settings = find(two, "ConfigMap", "signboard-gateway")["data"]
    assert str(spec["replicas"]) == settings["SIGNBOARD_GATEWAY_GATEWAYS"] == "2"
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}, "never three"
    assert not any("persistentVolumeClaim" in volume for volume in pod(two, "signboard-gateway")["volumes"])
    assert not [one for one in two if one["kind"] == "PersistentVolumeClaim" and "gateway" in one["metadata"]["name"]]
    sources = [next(iter(one)) for one in container(two, "signboard-gateway")["envFrom"]]
    assert sources == ["configMapRef", "secretRef"], "the secret's database, which comes last, wins"
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match="needs a PostgreSQL"):
        read_gateway_settings()
    monkeypatch.setenv("SIGNBOARD_GATEWAY_DATABASE", "postgresql://u:p@10.20.0.6/signboard")
    assert read_gateway_settings().gateways == 2


def test_an_overlay_names_its_own_registry_and_release(base: Manifests, example: Manifests) -> None:
    from core import __version__

    assert {image.split(":")[-1] for image in [*images(base), *images(example)]} == {__version__}
    assert all(image.startswith("registry.park.example/") for image in images(example))
    assert find(example, "Ingress")["spec"]["tls"]


def test_the_images_are_built_on_the_pinned_vllm_without_what_must_stay_outside() -> None:
    pinned = re.search(r"^vllm==(.+)$", (ROOT / "requirements/gpu.txt").read_text(), re.MULTILINE)
    assert pinned
    assert f"FROM vllm/vllm-openai:v{pinned[1]}\n" in (FOLDER / "vllm.Dockerfile").read_text()
    for name in ("vllm", "gateway"):
        ignored = (FOLDER / f"{name}.Dockerfile.dockerignore").read_text().split()
        assert {".env", ".git", "runs", "models", ".venv", "**/*.key", "**/*.pem"} <= set(ignored)
