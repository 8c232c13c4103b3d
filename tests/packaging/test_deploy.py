"""What is in deploy/ fits the program: settings, limits, and what each platform is told to forbid."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.process import WITHIN, environment
from watcher.cli.process import USAGE_ERROR
from watcher.config.database import PostgresqlAddress
from watcher.config.fields import parse_duration
from watcher.config.models import GlobalSettings
from watcher.config.sources import OTHER_VARIABLES, PREFIX, SHORT_VARIABLES, load
from watcher.daemon import DRAIN_SECONDS
from watcher.logs import FLUSH_SECONDS
from watcher.monitoring.server import CLOSING_SECONDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
REPLICAS = DEPLOY / "kubernetes-replicas"
UNIT = DEPLOY / "systemd/watcher.service"
DROP_INS = sorted((DEPLOY / "systemd").glob("*.d/*.conf"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
OWN = {"config", "secrets", ".env"}
"""Where a user of the checkout has files of theirs."""
FILES = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file() and not OWN & set(path.parts)]
PORT = 8080
SETTINGS = {*SHORT_VARIABLES, *OTHER_VARIABLES} | {
    PREFIX + name.upper() for name in GlobalSettings.setting_names()
}
"""Every variable that needs no table."""


def manifest(name: str) -> dict[str, Any]:
    """Returns one of the manifests for Kubernetes."""
    document: dict[str, Any] = yaml.safe_load((KUBERNETES / name).read_text(encoding="utf-8"))
    return document


def pod() -> dict[str, Any]:
    """Returns what the Deployment makes."""
    template: dict[str, Any] = manifest("deployment.yaml")["spec"]["template"]
    return template


def container() -> dict[str, Any]:
    """Returns the only container of the pod."""
    (only,) = pod()["spec"]["containers"]
    return dict(only)


def unit_settings(path: Path) -> list[tuple[str, str]]:
    """Returns the settings of a unit file in their order; some of them come several times."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    meant = [line for line in lines if line and not line.startswith(("#", "["))]
    return [(name, value) for name, _, value in (line.partition("=") for line in meant)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_variable_is_a_setting(path: Path) -> None:
    """No file names a WATCHER_ variable that the program does not know."""
    named = re.findall(r"\bWATCHER_[A-Z0-9_]+", path.read_text(encoding="utf-8"))
    assert {name for name in named if "__" not in name} - SETTINGS == set()


def test_every_variable_of_the_image_is_a_setting() -> None:
    """The image sets no WATCHER_ variable that the program does not know."""
    named = set(re.findall(r"\bWATCHER_[A-Z0-9_]+", DOCKERFILE))
    assert named
    assert named - SETTINGS == set()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_locked_down(name: str) -> None:
    """By compose nothing can write to the image, gain rights, or be reached from another machine."""
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []


def test_compose_starts_the_watcher_alone_or_with_the_simulator() -> None:
    """Only the profile starts the simulator, and without variables it is what is watched."""
    services = COMPOSE["services"]
    simulator = services["simulator"]
    assert "profiles" not in services["watcher"]
    assert simulator["profiles"] == ["simulator"]
    assert "depends_on" not in services["watcher"]
    port = simulator["command"][simulator["command"].index("--port") + 1]
    base_url = services["watcher"]["environment"]["WATCHER_BASE_URL"]
    assert base_url == f"${{WATCHER_BASE_URL-http://simulator:{port}}}"


def test_compose_starts_a_second_replica_beside_its_postgresql() -> None:
    """Only the profile starts PostgreSQL and the standby, which is the watcher itself without its port."""
    services = COMPOSE["services"]
    own = {"profiles", "ports", "environment"}
    watcher, standby = services["watcher"], services["standby"]
    assert services["postgresql"]["profiles"] == standby["profiles"] == ["postgresql"]
    assert standby["ports"] == []
    assert {key: standby[key] for key in standby.keys() - own} == {
        key: watcher[key] for key in watcher.keys() - own
    }
    user = services["postgresql"]["environment"]["POSTGRES_USER"]
    assert f"//{user}:watcher@postgresql/watcher}}" in standby["environment"]["WATCHER_DATABASE"]
    assert standby["environment"].keys() == watcher["environment"].keys()


def test_compose_leaves_the_health_check_to_the_image() -> None:
    """The watcher has the image's health check, and the simulator, which would fail it, none."""
    services = COMPOSE["services"]
    assert "healthcheck" not in services["watcher"]
    assert services["simulator"]["healthcheck"] == {"disable": True}


def test_compose_passes_every_variable_under_its_own_name() -> None:
    """What is set for compose arrives as the same setting."""
    for name, value in COMPOSE["services"]["watcher"]["environment"].items():
        assert value.startswith((f"${{{name}:-", f"${{{name}-"))


def test_compose_passes_every_setting_of_its_env_file() -> None:
    """What is in the file .env arrives whether the compose file lists it or not, and it need not be there."""
    assert COMPOSE["services"]["watcher"]["env_file"] == [{"path": ".env", "required": False}]


def test_everything_waits_for_the_drain() -> None:
    """Each platform gives a stopping daemon longer than sends in flight may take."""
    grace = {
        "compose": parse_duration(COMPOSE["services"]["watcher"]["stop_grace_period"]),
        "kubernetes": pod()["spec"]["terminationGracePeriodSeconds"],
        "systemd": parse_duration(dict(unit_settings(UNIT))["TimeoutStopSec"]),
    }
    assert {name: seconds for name, seconds in grace.items() if seconds <= DRAIN_SECONDS} == {}


def test_a_stop_by_docker_leaves_time_for_a_drain() -> None:
    """Sends under way, slow clients and an unread log together take less than the 10 s of `docker stop`."""
    assert DRAIN_SECONDS + CLOSING_SECONDS + FLUSH_SECONDS <= 9.5


def test_one_pod_per_database() -> None:
    """The old pod is gone before the new one starts, because a second daemon would be refused."""
    spec = manifest("deployment.yaml")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_the_pod_is_locked_down() -> None:
    """In Kubernetes the pod meets the restricted standard and holds no token of the cluster."""
    spec = pod()["spec"]
    user = int(re.findall(r"^USER (\d+):0$", DOCKERFILE, re.MULTILINE)[-1])
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == user
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_probes_ask_what_they_are_for() -> None:
    """A restart follows only from a daemon that hangs, and not from an app that does not answer."""
    probes = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert container()["ports"] == [{"name": "http", "containerPort": PORT}]
    assert {probe["port"] for probe in probes.values()} == {"http"}


def test_the_kustomization_is_whole() -> None:
    """Every file that it lists is there, every manifest is listed but the one that needs an operator."""
    kustomization = manifest("kustomization.yaml")
    listed = kustomization["resources"]
    manifests = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert manifests - set(listed) == {"podmonitor.yaml"}
    assert {name for name in listed if not (KUBERNETES / name).is_file()} == set()
    (config,) = kustomization["configMapGenerator"]
    assert [name for name in config["files"] if not (KUBERNETES / name).is_file()] == []
    assert [image["name"] for image in kustomization["images"]] == [container()["image"]]


def test_the_manifests_find_each_other() -> None:
    """What is mounted is what the other manifests make, and every selector selects the pod."""
    labels = pod()["metadata"]["labels"]
    (config,) = manifest("kustomization.yaml")["configMapGenerator"]
    volumes = {volume["name"]: volume for volume in pod()["spec"]["volumes"]}
    claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
    assert claim == manifest("persistentvolumeclaim.yaml")["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == config["name"]
    assert {mount["name"] for mount in container()["volumeMounts"]} == set(volumes)
    assert manifest("deployment.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    assert manifest("podmonitor.yaml")["spec"]["selector"]["matchLabels"] == labels


def test_the_configuration_of_the_pod_is_good(tmp_path: Path) -> None:
    """The file for Kubernetes has no problem once its secrets are there, where the pod mounts them."""
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    text = (KUBERNETES / "config.toml").read_text(encoding="utf-8")
    named = re.findall(rf'"{mounts["secrets"]}/(\w+)"', text)
    assert len(named) == str(tomllib.loads(text)).count("_file'")
    for name in named:
        secret = "https://hooks.slack.com/services/T0/B0/x" if name.endswith("_url") else "dynamiq_acc_0"
        (tmp_path / name).write_text(secret, encoding="utf-8")
    (tmp_path / "config.toml").write_text(text.replace(mounts["secrets"], str(tmp_path)), encoding="utf-8")
    assert load(None, environ={}, directory=tmp_path).warnings == ()
    assert re.findall(r"^WORKDIR (.+)$", DOCKERFILE, re.MULTILINE)[-1] == mounts["config"]
    assert re.findall(r"^VOLUME (.+)$", DOCKERFILE, re.MULTILINE) == [mounts["data"]]


def test_the_network_is_no_wider_than_needed() -> None:
    """Out go names and HTTPS only, in comes only what asks for metrics."""
    spec = manifest("networkpolicy.yaml")["spec"]
    assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
    assert {port["port"] for rule in spec["egress"] for port in rule["ports"]} == {53, 443}
    assert [(bool(rule["from"]), rule["ports"]) for rule in spec["ingress"]] == [
        (True, [{"protocol": "TCP", "port": PORT}])
    ]


def patched(name: str) -> dict[str, Any]:
    """Returns what the overlay for several replicas changes in a manifest, or adds."""
    document: dict[str, Any] = yaml.safe_load((REPLICAS / name).read_text(encoding="utf-8"))
    return document


def test_the_overlay_runs_two_replicas_on_different_nodes() -> None:
    """Two pods on different nodes, of which a drain or a rollout leaves one; none has a disk of its own."""
    spec = patched("deployment.yaml")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    labels = pod()["metadata"]["labels"]
    (rule,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"].popitem()[1]
    assert rule["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels
    budget = patched("poddisruptionbudget.yaml")["spec"]
    assert (budget["minAvailable"], budget["selector"]["matchLabels"]) == (1, labels)
    assert spec["template"]["spec"]["volumes"] == [{"$patch": "delete", "name": "data"}]
    network = patched("networkpolicy.yaml")["spec"]["egress"]
    assert network[:-1] == manifest("networkpolicy.yaml")["spec"]["egress"]
    assert network[-1] == {"ports": [{"protocol": "TCP", "port": 5432}]}


def test_the_settings_of_the_overlay_are_good(tmp_path: Path) -> None:
    """The watcher accepts the database of the overlay: a verified server, and a password in a file."""
    (only,) = patched("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    environ = {variable["name"]: variable["value"] for variable in only["env"]}
    secrets = next(mount["mountPath"] for mount in container()["volumeMounts"] if mount["name"] == "secrets")
    assert environ["WATCHER_DATABASE_PASSWORD_FILE"].startswith(f"{secrets}/")
    (tmp_path / "password").write_text("of-a-test")
    environ |= {"WATCHER_DATABASE_PASSWORD_FILE": str(tmp_path / "password")}
    environ |= {"WATCHER_BASE_URL": "https://app.example"}
    database = load(None, environ=environ, directory=tmp_path).database
    assert isinstance(database, PostgresqlAddress)
    assert "sslmode=verify-full" in database.url


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed here")
def test_the_overlay_can_be_rendered() -> None:
    """Kustomize puts the overlay together, without the volume that several pods could not share."""
    command = ["kubectl", "kustomize", str(REPLICAS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(done.stdout)]
    assert sorted(kinds) == ["ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget"]
    assert "mountPath: /data" not in done.stdout


def test_the_unit_starts_no_daemon_in_vain() -> None:
    """By systemd a crash is followed by a new start, and a wrong configuration is not."""
    settings = dict(unit_settings(UNIT))
    assert settings["Type"] == "exec"
    assert settings["Restart"] == "on-failure"
    assert settings["RestartPreventExitStatus"] == str(USAGE_ERROR)
    assert settings["ExecStart"].endswith("/watcher run")


def test_the_unit_is_locked_down() -> None:
    """By systemd the daemon is nobody, may write to its own directory only, and gains no rights."""
    settings = dict(unit_settings(UNIT))
    yes = ("DynamicUser", "NoNewPrivileges", "PrivateDevices", "PrivateTmp", "ProtectHome")
    assert {name: settings[name] for name in yes} == dict.fromkeys(yes, "yes")
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["ProtectSystem"] == "strict"
    assert settings["StateDirectory"] == "watcher"
    assert ("Environment", "WATCHER_DATABASE=%S/watcher/watcher.db") in unit_settings(UNIT)


@pytest.mark.parametrize("path", [UNIT, *DROP_INS], ids=lambda path: path.name)
def test_every_credential_is_used(path: Path) -> None:
    """What systemd hands over as a file is what a setting in the same file reads."""
    settings = unit_settings(path)
    loaded = {value.partition(":")[0] for name, value in settings if name == "LoadCredential"}
    variables = [value.partition("=") for name, value in settings if name == "Environment"]
    read = {value.removeprefix("%d/") for name, _, value in variables if name.endswith("_FILE")}
    assert loaded
    assert loaded == read


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """By systemd's own judgement the unit and its drop-ins are right, and little is exposed."""
    installed = UNIT.read_text(encoding="utf-8").replace("/opt/watcher/bin/watcher", "/bin/true")
    unit = tmp_path / UNIT.name
    unit.write_text(installed, encoding="utf-8")
    for path in DROP_INS:
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / path.parent.name)
    for arguments in (["verify"], ["security", "--offline=true", "--threshold=20", "--no-pager"]):
        found = subprocess.run(
            ["systemd-analyze", *arguments, str(unit)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (found.returncode, found.stderr) == (0, ""), found.stdout


def test_the_command_line_beside_systemd(tmp_path: Path) -> None:
    """What the documentation says to run finds settings, secrets and database, as the service has them."""
    documented = (DEPLOY / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^sudo (sh -c '.*?check --send')$", documented, re.MULTILINE | re.DOTALL)
    for path, instead in {
        "/etc/watcher": f"{tmp_path}",
        "/var/lib/watcher": f"{tmp_path}",
        "/opt/watcher/bin/watcher": f"{sys.executable} -m watcher",
    }.items():
        assert path in line
        line = line.replace(path, instead)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/access_key").write_text("dynamiq_acc_of_a_test")
    (tmp_path / "secrets/slack_webhook_url").write_text("https://127.0.0.1:1/services/T/B/x")
    (tmp_path / "watcher.env").write_text("WATCHER_BASE_URL=http://127.0.0.1:1\n")
    ended = subprocess.run(
        line, shell=True, capture_output=True, text=True, check=False, env=environment({}), timeout=WITHIN
    )
    assert (1, "") == (ended.returncode, ended.stderr)
    for words in (
        "1 app, 1 notifier\n",
        f"database {tmp_path}/watcher.db: will be",
        "app default: connection",
        "notifier slack: ",
    ):
        assert words in ended.stdout
