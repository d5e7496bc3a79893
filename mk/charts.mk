##@ Charts
# What `make test-charts` builds when `make e2e` has not: some ten minutes on two cores, most of it Kueue, and
# once. Helm 3 only for the full tests.
CHARTS_PROGRAMS := kubeconform helm kuberay-validate kuberay-reconcile kubectl \
  gitops-health argocd-merge kueue-validate admission-policy
TOOLS = PYTHONPATH=hack $(BIN)/python hack/charts/tools.py

.PHONY: charts-tools test-charts test-charts-full
charts-tools: setup ## Build what the charts' tests run; what cannot be built skips its tests
	@$(TOOLS) $(CHARTS_PROGRAMS)

test-charts: setup charts-tools ## Run the tests of charts, manifests and KubeRay's rules (minutes)
	$(PYTEST) tests/charts $(ARGS)

test-charts-full: setup ## Run all tests of charts and rules, Helm 3 included
	$(TOOLS) --strict $(CHARTS_PROGRAMS) helm3
	$(PYTEST) tests/charts $(ARGS)

.PHONY: charts-docs
charts-docs: setup ## Write README.md and values.schema.json of the charts from their values.yaml
	$(BIN)/python hack/charts/dashboard.py
	$(BIN)/python hack/charts/generate.py

.PHONY: charts-docs-check
charts-docs-check: setup ## Fail when README.md or values.schema.json of a chart is stale
	$(BIN)/python hack/charts/generate.py --check

PIN_COMPONENT := manifests/overlays/production/pinned-image/kustomization.yaml

.PHONY: pin
pin: setup ## Pin production, its jobs and releases, to an image: make pin IMAGE=registry/darkroom@sha256:...
	$(BIN)/python hack/charts/pin.py "$(IMAGE)" $(PIN_COMPONENT)
