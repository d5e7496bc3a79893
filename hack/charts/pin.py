"""Writes the Kustomize component that gives production its image, by digest and nothing else.

python hack/charts/pin.py registry/darkroom@sha256:... FILE
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TEMPLATE = """\
# Written by `make pin`.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
  - name: darkroom
    newName: {name}
    digest: {digest}
"""


def main() -> int:
    image, target = sys.argv[1], Path(sys.argv[2])
    match = re.fullmatch(r"(?P<name>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})", image)
    if match is None:
        print(
            f"IMAGE: got {image!r}, not a digest; write registry/darkroom@sha256:...",
            file=sys.stderr,
        )
        return 2
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(TEMPLATE.format(**match.groupdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
