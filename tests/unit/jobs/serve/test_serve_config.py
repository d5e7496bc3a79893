"""What `darkroom serve` is told, and what of it is refused before anything starts."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.serving import serve_config

from darkroom.config import build_config
from darkroom.errors import ConfigError
from darkroom.jobs.serve.config import ServeConfig, default_name
from darkroom.jobs.serve.job import serving
from darkroom.jobs.serve.replica import sources_of


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("s3://bucket/runs/digits/model", "digits"),
        ("/data/sd-v1.5", "sd-v1.5"),
        ("stabilityai/sdxl-turbo", "sdxl-turbo"),
        ("/model", "model"),
        ("/a/my model!", "my-model-"),
        ("/", "model"),
    ],
)
def test_models_are_named_by_what_tells_them_apart(place: str, name: str) -> None:
    assert default_name(place) == name
    assert serve_config(models=[place]).model_names == (name,)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"models": []}, "models"),
        ({"host": "192.0.2.1"}, "without a key; set keys"),
        ({"host": "::"}, "without a key; set keys"),
        ({"models": ["/a/model", "s3://b/a"]}, "two have the same name"),
        ({"names": ["one"]}, "1 names for 2 models"),
        ({"names": ["one", "t wo"]}, r"names\.1"),
        ({"origins": ["https://a.example/path"]}, "is no origin"),
        ({"origins": ["a.example"]}, "is no origin"),
        ({"origins": ["http://["]}, "is no origin; write https"),
        ({"port": 65536}, "port"),
        ({"prot": 1}, "did you mean 'port'"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        serve_config(**values)


def test_with_keys_others_may_be_listened_to() -> None:
    assert serve_config(host="192.0.2.1", keys="/keys").host == "192.0.2.1"


def test_places_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = build_config(
        ServeConfig, {"models": ["./m"], "loras": {"ink": {"model": "./l"}}, "keys": "k"}
    )
    assert config.models == (f"{tmp_path}/m",)
    assert config.loras["ink"].model == f"{tmp_path}/l"
    assert config.keys == f"{tmp_path}/k"
    assert build_config(ServeConfig, config.to_dict()) == config


def test_loras_go_over_the_first_model() -> None:
    first, second = sources_of(serve_config(loras={"ink": {"model": "/ink"}}))
    assert (first.name, second.name) == ("digits", "painter")
    assert list(first.loras) == ["ink"]
    assert not second.loras


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(**_: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("darkroom.jobs.serve.job.ray_session", started)


def refuse(error: type[Exception], problem: str, **values: Any) -> None:
    with pytest.raises(error, match=problem), serving(serve_config(port=0, **values)):
        pass


@pytest.mark.usefixtures("no_ray")
def test_models_keys_and_ports_are_looked_at_before_ray_starts(tmp_path: Path) -> None:
    from tests.helpers.tiny_artifacts import publish_digits, publish_model

    refuse(ConfigError, "no model lies there", models=[f"{tmp_path}/none"])
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "config.json").write_text("{}")
    refuse(ConfigError, "models: .* is no diffusers folder", models=[f"{tmp_path}/network"])
    publish_digits(tmp_path / "data")
    refuse(ConfigError, "models: .* holds a dataset; give the URI", models=[f"{tmp_path}/data"])
    place = str(tmp_path / "digits")
    publish_model(place)
    refuse(ConfigError, "safety_check: .* is no function", models=[place], safety_check="math:pi")
    refuse(ConfigError, "cannot be read", models=[place], keys=f"{tmp_path}/keys")
    pair = {"key": f"{tmp_path}/tls.key", "certificate": f"{tmp_path}/tls.crt"}
    refuse(ConfigError, r"signing\.key: .*cannot be read", models=[place], signing=pair)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=rf"port: got {port}, cannot be listened at"),
            serving(serve_config(models=[place], port=port)),
        ):
            pass


@pytest.mark.usefixtures("no_ray")
def test_loras_that_do_not_fit_are_refused_before_ray_starts(tmp_path: Path) -> None:
    from safetensors.numpy import save_file
    from tests.helpers.finetuning import LORA_FILE, publish_lora
    from tests.helpers.tiny_artifacts import publish_model
    from tests.helpers.tiny_families import save_tiny

    base = str(save_tiny("sd", tmp_path / "sd"))
    (tmp_path / "ink").mkdir()
    save_file({"unet.lora_A.weight": np.zeros((4, 8))}, tmp_path / "ink" / LORA_FILE)
    ink = {"ink": {"model": str(tmp_path / "ink")}}
    digits = str(publish_model(tmp_path / "digits").uri)
    says = r"loras\.ink: got .*ink', goes over .*digits, which draws classes; leave it out, or give"
    refuse(ConfigError, says, models=[digits, base], loras=ink)
    place = publish_lora(tmp_path / "ink", tmp_path / "others", of="0" * 64)
    others = {"ink": {"model": place}}
    says = (
        r"loras\.ink\.model: got .*others', was trained over another base .*; "
        r"give its own base as models, or set loras\.ink\.any_base for a relative"
    )
    refuse(ConfigError, says, models=[base], loras=others)
    says = r"loras\.ink\.model: got .*sd', holds 3 files of weights, and a LoRA is one"
    refuse(ConfigError, says, models=[base], loras={"ink": {"model": base}})


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("port", [0, 8123])
@pytest.mark.parametrize("host", ["192.0.2.1", "127.0.0.1\0", "a" * 70])
def test_an_address_that_is_not_this_machines_is_refused_whatever_the_port(
    host: str, port: int, tmp_path: Path
) -> None:
    from tests.helpers.tiny_artifacts import publish_model

    (tmp_path / "keys").write_text(f"ann {'k' * 32}\n")
    config = serve_config(
        models=[str(publish_model(tmp_path / "digits").uri)], keys=f"{tmp_path}/keys", host=host,
        port=port,
    )  # fmt: skip
    says = "^host: .* cannot be listened at .*--host$"
    with pytest.raises(ConfigError, match=says), serving(config):
        pass
