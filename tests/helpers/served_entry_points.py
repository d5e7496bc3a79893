"""Our entry points in a Git repository, as a team has them, and other projects' charts in reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.charts_of_others import served_charts
from tests.helpers.git_repository import ENVIRONMENT, GitRepository
from tests.helpers.git_server import served_repositories

# What the manifests ask a person to set to the repository's own.
OURS = "https://git.example.com/ml/darkroom"
# Where the entry points take other projects' charts from; all are served in one place here.
KUBERAY = "https://ray-project.github.io/kuberay-helm"
PROMETHEUS = "https://prometheus-community.github.io/helm-charts"
KUEUE = "registry.k8s.io/kueue/charts"
THEIRS = {
    "argocd/kuberay.yaml": KUBERAY,
    "argocd/prometheus.yaml": PROMETHEUS,
    "argocd/kueue.yaml": KUEUE,
    "controllers/kuberay.yaml": KUBERAY,
    "controllers/prometheus.yaml": PROMETHEUS,
    # The repository in its place is no registry.
    "controllers/kueue.yaml": f"oci://{KUEUE}\n  type: oci",
}


@contextmanager
def served_entry_points(folder: Path) -> Iterator[GitRepository]:
    """The repository, made and served from an empty folder; its URL stands where ours did."""
    (folder / "git").mkdir(parents=True)
    with (
        served_charts(folder / "charts") as charts,
        served_repositories(folder / "git", ENVIRONMENT) as server,
    ):
        repository = GitRepository(folder / "git", server)
        for path in sorted((repository.checkout / "manifests").rglob("*.yaml")):
            if OURS in path.read_text():
                repository.replace(str(path), OURS, repository.url)
        for name, address in THEIRS.items():
            repository.replace(f"manifests/infrastructure/{name}", address, charts)
        repository.commit("ours")
        yield repository
