package main

import (
	"encoding/json"
	"errors"
	"fmt"

	jsonpatch "github.com/evanphx/json-patch"
	"github.com/itchyny/gojq"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type comparisonResult struct {
	reconciliationResult struct{ Live, Target []*unstructured.Unstructured }
	diffConfig           []ignoreRule
}

// scheme.Scheme knows Kubernetes' own kinds in Argo CD; those asked for here are others.
var scheme struct{ Scheme customResources }

type customResources struct{}

func (customResources) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	return nil, errors.New(gvk.Kind + " is no kind of Kubernetes' own")
}

// diff.Normalize takes the ignored fields off, as the two normalizers of Argo CD's util/argo do.
var diff normalizer

type normalizer struct{}

type normalizationResult struct{ Lives, Targets []*unstructured.Unstructured }

type ignoreRule struct {
	Group             string   `json:"group"`
	Kind              string   `json:"kind"`
	JSONPointers      []string `json:"jsonPointers"`
	JQPathExpressions []string `json:"jqPathExpressions"`
}

func (normalizer) Normalize(lives, targets []*unstructured.Unstructured, rules []ignoreRule) (*normalizationResult, error) {
	result := &normalizationResult{}
	for index := range lives {
		live, err := stripped(lives[index], rules)
		if err != nil {
			return nil, err
		}
		target, err := stripped(targets[index], rules)
		if err != nil {
			return nil, err
		}
		result.Lives, result.Targets = append(result.Lives, live), append(result.Targets, target)
	}
	return result, nil
}

func stripped(object *unstructured.Unstructured, rules []ignoreRule) (*unstructured.Unstructured, error) {
	data, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	gvk := object.GroupVersionKind()
	for _, rule := range rules {
		if rule.Group != gvk.Group || rule.Kind != gvk.Kind {
			continue
		}
		for _, pointer := range rule.JSONPointers {
			data = without(data, pointer)
		}
		for _, expression := range rule.JQPathExpressions {
			if data, err = deleted(data, expression); err != nil {
				return nil, err
			}
		}
	}
	found := &unstructured.Unstructured{}
	return found, found.UnmarshalJSON(data)
}

// without leaves the data alone where the pointer points to nothing.
func without(data []byte, pointer string) []byte {
	text, _ := json.Marshal([]map[string]string{{"op": "remove", "path": pointer}})
	if patch, err := jsonpatch.DecodePatch(text); err == nil {
		if patched, err := patch.Apply(data); err == nil {
			return patched
		}
	}
	return data
}

func deleted(data []byte, expression string) ([]byte, error) {
	query, err := gojq.Parse(fmt.Sprintf("del(%s)", expression))
	if err != nil {
		return nil, err
	}
	var document any
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	first, _ := query.Run(document).Next()
	if err, failed := first.(error); failed {
		return nil, err
	}
	return json.Marshal(first)
}
