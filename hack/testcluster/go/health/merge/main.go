// argocd-merge says what Argo CD applies of a custom resource when an Application is synced.
//
// It reads one JSON object from standard input: the `live` object, the `target` that was rendered, and of
// the Application `ignoreDifferences` and `syncOptions`. It writes what server-side apply then makes of
// the live object: maps are merged, and lists are taken as a whole, as workerGroupSpecs is (its CRD
// gives it no keys); or the live object where nothing is applied.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"darkroom.invalid/testcluster/health/merge/openapi"
)

type question struct {
	Live              map[string]any `json:"live"`
	Target            map[string]any `json:"target"`
	IgnoreDifferences []ignoreRule   `json:"ignoreDifferences"`
	SyncOptions       []string       `json:"syncOptions"`
}

func main() {
	var asked question
	err := json.NewDecoder(os.Stdin).Decode(&asked)
	var stored map[string]any
	if err == nil {
		stored, err = sync(asked)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(stored)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func sync(asked question) (map[string]any, error) {
	target := &unstructured.Unstructured{Object: asked.Target}
	compared := &comparisonResult{diffConfig: asked.IgnoreDifferences}
	compared.reconciliationResult.Live = []*unstructured.Unstructured{{Object: asked.Live}}
	compared.reconciliationResult.Target = []*unstructured.Unstructured{target}

	predicted := &unstructured.Unstructured{Object: applied(asked.Live, asked.Target)}
	both, err := diff.Normalize(
		compared.reconciliationResult.Live, []*unstructured.Unstructured{predicted}, asked.IgnoreDifferences)
	if err != nil {
		return nil, err
	}
	inSync := reflect.DeepEqual(both.Lives[0].Object, both.Targets[0].Object)
	if inSync && slices.Contains(asked.SyncOptions, "ApplyOutOfSyncOnly=true") {
		return asked.Live, nil
	}
	if slices.Contains(asked.SyncOptions, "RespectIgnoreDifferences=true") {
		patched, err := normalizeTargetResources(openapi.None{}, compared)
		if err != nil {
			return nil, err
		}
		target = patched[0]
	}
	return applied(asked.Live, target.Object), nil
}

// applied is what server-side apply makes of the live object when this is all that was ever applied.
func applied(live, target map[string]any) map[string]any {
	merged := map[string]any{}
	for key, value := range live {
		merged[key] = value
	}
	for key, value := range target {
		below, isMap := value.(map[string]any)
		if under, both := live[key].(map[string]any); isMap && both {
			merged[key] = applied(under, below)
		} else {
			merged[key] = value
		}
	}
	return merged
}
