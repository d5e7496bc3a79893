##@ Release
RELEASE = PYTHONPATH=hack $(BIN)/python -m release

# RELEASE_IMAGE: auto (Docker if it answers, else the test image that `make image` built, else none), docker, testimage, none.
.PHONY: release release-verify
release: setup sbom ## Make wheel, charts, manifests, CRDs, image, SBOM, checksums and provenance in dist/
	$(RELEASE) make dist --sbom build/darkroom.cdx.json

release-verify: setup ## Check that dist/ holds what its checksums and its provenance say
	$(RELEASE) verify dist
