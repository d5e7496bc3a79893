"""The image in a pod as locked down as production's: user, read-only root, compiler, contents."""

import json

from testcluster.client import Kubectl, pod_spec, run_pod

IDENTITY = """
import json, os, pathlib
status = dict(
    line.split(":\\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines()
)
try:
    pathlib.Path("/opt/darkroom/written").touch()
    root = "writable"
except OSError as error:
    root = os.strerror(error.errno)
print(json.dumps({"uid": os.getuid(), "gid": os.getgid(), "root": root,
                  "capabilities": int(status["CapEff"], 16), "home": os.environ["HOME"]}))
"""

# Inductor writes C++ and compiles it: it needs the compiler, Python's headers and a writable cache.
COMPILE = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU())
x = torch.randn(4, 8)
torch.testing.assert_close(torch.compile(model)(x), model(x))
print("compiled")
"""

IMPORTS = """
import importlib, json, pkgutil, shutil
import darkroom.jobs
verbs = [m.name for m in pkgutil.iter_modules(darkroom.jobs.__path__) if m.ispkg]
for verb in verbs:
    for module in pkgutil.iter_modules(importlib.import_module(f"darkroom.jobs.{verb}").__path__):
        importlib.import_module(f"darkroom.jobs.{verb}.{module.name}")
absent = [n for n in ("pytest", "mypy", "hypothesis", "pip") if importlib.util.find_spec(n)]
tools = [n for n in ("bash", "openssl", "gcc", "g++", "ray", "darkroom") if not shutil.which(n)]
print(json.dumps({"verbs": verbs, "test_tools": absent, "missing": tools}))
"""


def _python(namespace: Kubectl, image: str, name: str, script: str, seconds: float = 120) -> str:
    spec = pod_spec(image, command=["python", "-c", script])
    return run_pod(namespace, name, spec, seconds=seconds)


def test_runs_as_its_own_user_on_a_read_only_root(namespace: Kubectl, image: str) -> None:
    seen = json.loads(_python(namespace, image, "identity", IDENTITY))
    assert seen == {
        "uid": 10001,
        "gid": 10001,
        "root": "Read-only file system",
        "capabilities": 0,
        "home": "/tmp/home",  # noqa: S108
    }


def test_the_images_own_user_is_numeric_and_not_root(namespace: Kubectl, image: str) -> None:
    """`runAsNonRoot` without `runAsUser` starts only when the image names a user by number."""
    spec = pod_spec(image)
    spec["securityContext"] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert "Usage: darkroom" in run_pod(namespace, "default-user", spec)


def test_compiles_a_module(namespace: Kubectl, image: str) -> None:
    assert "compiled" in _python(namespace, image, "compile", COMPILE, seconds=300)


def test_every_verb_imports_and_no_test_tool_is_there(namespace: Kubectl, image: str) -> None:
    seen = json.loads(_python(namespace, image, "imports", IMPORTS, seconds=300).splitlines()[-1])
    assert {"prepare", "train", "sample", "evaluate", "report"} <= set(seen["verbs"])
    assert not seen["test_tools"]
    assert not seen["missing"]
