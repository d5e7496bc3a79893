##@ Charts

CHARTS_PYTHON ?= python

.PHONY: charts-docs
charts-docs: ## Write README.md and values.schema.json of the charts from their values.yaml
	$(CHARTS_PYTHON) hack/charts/dashboard.py
	$(CHARTS_PYTHON) hack/charts/generate.py

.PHONY: charts-docs-check
charts-docs-check: ## Fail when README.md or values.schema.json of a chart is stale
	$(CHARTS_PYTHON) hack/charts/generate.py --check

PIN_COMPONENT := manifests/overlays/production/pinned-image/kustomization.yaml

.PHONY: pin
pin: ## Pin production to an image: make pin IMAGE=registry/darkroom@sha256:...
	$(CHARTS_PYTHON) hack/charts/pin.py "$(IMAGE)" $(PIN_COMPONENT)
