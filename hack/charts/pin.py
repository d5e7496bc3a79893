"""Pins an environment to an image, by digest and nothing else: its jobs and its releases in one go.

python hack/charts/pin.py registry/darkroom@sha256:... OVERLAY/pinned-image/kustomization.yaml

The file named is a Kustomize component for the jobs. OVERLAY/values/image.yaml, written with it, is
what Helm, Flux and Argo CD give to the charts.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

COMPONENT = """\
# Written by `make pin`.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
  - name: darkroom
    newName: {name}
    digest: {digest}
"""
VALUES = """\
# Written by `make pin`, together with ../pinned-image.
image:
  repository: {name}
  digest: {digest}
"""


def main() -> int:
    image, component = sys.argv[1], Path(sys.argv[2])
    match = re.fullmatch(r"(?P<name>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})", image)
    if match is None:
        print(
            f"IMAGE: got {image!r}, not a digest; write registry/darkroom@sha256:...",
            file=sys.stderr,
        )
        return 2
    values = component.parents[1] / "values" / "image.yaml"
    for path, template in ((component, COMPONENT), (values, VALUES)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.format(**match.groupdict()))
        print(f"pinned {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
