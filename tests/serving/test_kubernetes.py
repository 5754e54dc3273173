"""The manifests for Kubernetes are valid, and agree with the service and the training command."""

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lstm_lm.config.validation import check
from lstm_lm.serving.settings import ENV_PREFIX, Settings
from lstm_lm.training.config import RESUME_AUTO, TrainConfig

FOLDER = Path(__file__).parents[2] / "scripts" / "deploy" / "kubernetes"
VERSION = "1.37.0"
IN_FLIGHT_SECONDS = 120  # after the drain, as in the other files of scripts/deploy


def manifests(name: str) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all((FOLDER / name).read_text())}


@pytest.fixture(scope="module")
def deployment() -> dict[str, Any]:
    return manifests("service.yaml")["Deployment"]


@pytest.mark.parametrize(
    ("name", "kinds"), [("service.yaml", {"Deployment", "Service", "PodDisruptionBudget"}), ("train.yaml", {"Job"})]
)
def test_manifests_fit_the_schemas_of_kubernetes(name: str, kinds: set[str]) -> None:
    documents = manifests(name)
    assert set(documents) == kinds
    for document in documents.values():
        kubernetes_validate.validate(document, VERSION, strict=True)
        misspelt = copy.deepcopy(document)
        misspelt["spec"]["templat"] = misspelt["spec"].pop("template", {})
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(misspelt, VERSION, strict=True)


def test_selectors_find_the_pods(deployment: dict[str, Any]) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    others = manifests("service.yaml")
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert others["Service"]["spec"]["selector"] == labels
    assert others["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_service_uses_existing_settings_and_has_time_to_drain(deployment: dict[str, Any]) -> None:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"].removeprefix(ENV_PREFIX): entry.get("value") for entry in container["env"]}
    assert set(variables) <= {name.upper() for name in Settings.model_fields}
    fields = {name.lower(): value for name, value in variables.items() if value is not None}
    settings = Settings.model_validate(fields)
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_seconds + IN_FLIGHT_SECONDS
    assert container["ports"][0]["containerPort"] == settings.port
    assert container["resources"]["limits"]["cpu"] == str(settings.threads)
    for probe, path in (("startup", "/ready"), ("readiness", "/ready"), ("liveness", "/health")):
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "http"}
        assert container[f"{probe}Probe"]["timeoutSeconds"] > settings.ready_seconds
    # the load balancer must have seen the failing probe before the service stops accepting requests
    readiness = container["readinessProbe"]
    assert settings.drain_seconds >= readiness["periodSeconds"] * readiness["failureThreshold"]


def test_job_is_a_valid_command_that_continues() -> None:
    job = manifests("train.yaml")["Job"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    program, command, *overrides = container["args"]
    assert (program, command) == ("lstm-lm", "train")
    checked = check(command, overrides)
    assert isinstance(checked.config, TrainConfig)
    assert checked.config.resume == RESUME_AUTO
    assert checked.folders.run == "/runs/first"
    _, failures = job["podFailurePolicy"]["rules"]
    assert failures["onExitCodes"]["values"] == [1, 2], "the exit statuses of mistakes, not of signals"
    assert failures["onExitCodes"]["containerName"] == container["name"]
