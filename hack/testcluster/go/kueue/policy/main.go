// admission-policy says what the API server makes of an update under a MutatingAdmissionPolicy, by the
// API server's own code. It stands in Kueue's module for its Kubernetes: 1.36, the first with the kind
// in v1, of which Kueue needs most already.
//
// It reads one JSON object from standard input: `policy`, `object`, `oldObject` and `fieldManager`; and
// writes the object that is stored. Where the policy's conditions do not match that is the same one.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
)

type question struct {
	Policy       v1.MutatingAdmissionPolicy `json:"policy"`
	Object       map[string]any             `json:"object"`
	OldObject    map[string]any             `json:"oldObject"`
	FieldManager string                     `json:"fieldManager"`
}

func main() {
	var asked question
	err := json.NewDecoder(os.Stdin).Decode(&asked)
	var stored runtime.Object
	if err == nil {
		stored, err = update(asked)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(stored)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// update follows compilePolicy and the dispatcher of the admission plugin.
func update(asked question) (runtime.Object, error) {
	ctx := context.Background()
	spec := asked.Policy.Spec
	object, old := whole(asked.Object), whole(asked.OldObject)
	kind := object.GroupVersionKind()
	resource := kind.GroupVersion().WithResource("rayclusters")
	attributes := admission.NewAttributesRecord(object, old, kind, object.GetNamespace(), object.GetName(),
		resource, "", admission.Update, &metav1.UpdateOptions{FieldManager: asked.FieldManager}, false, &user.DefaultInfo{})
	versioned := &admission.VersionedAttributes{
		Attributes: attributes, VersionedKind: kind, VersionedObject: object, VersionedOldObject: old,
	}

	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	options := plugincel.OptionalVariableDeclarations{HasAuthorizer: true}
	variables := []plugincel.NamedExpressionAccessor{}
	for _, variable := range spec.Variables {
		variables = append(variables, &validating.Variable{Name: variable.Name, Expression: variable.Expression})
	}
	compiler.CompileAndStoreVariables(variables, options, environment.StoredExpressions)
	ctx = compiler.CreateContext(ctx)

	conditions := []plugincel.ExpressionAccessor{}
	for index := range spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&spec.MatchConditions[index]))
	}
	fail := v1.Fail // An error of ours is to be seen, whatever the policy says of errors.
	matcher := matchconditions.NewMatcher(
		compiler.CompileCondition(conditions, options, environment.StoredExpressions), &fail, "policy", "mutate", asked.Policy.Name)
	match := matcher.Match(ctx, versioned, nil, nil)
	if match.Error != nil {
		return nil, match.Error
	}
	if !match.Matches {
		return object, nil
	}

	options.HasPatchTypes = true
	for _, mutation := range spec.Mutations {
		if mutation.JSONPatch == nil {
			return nil, fmt.Errorf("only JSON patches are known here")
		}
		condition := &patch.JSONPatchCondition{Expression: mutation.JSONPatch.Expression}
		patcher := patch.NewJSONPatcher(compiler.CompileMutatingEvaluator(condition, options, environment.StoredExpressions))
		versioned.VersionedObject, err = patcher.Patch(ctx, patch.Request{
			MatchedResource:     resource,
			VersionedAttributes: versioned,
			ObjectInterfaces:    admission.NewObjectInterfacesFromScheme(runtime.NewScheme()),
		}, celconfig.RuntimeCELCostBudget)
		if err != nil {
			return nil, err
		}
	}
	return versioned.VersionedObject, nil
}

// whole has integers where JSON has them, as the API server decodes a custom resource.
func whole(object map[string]any) *unstructured.Unstructured {
	text, err := json.Marshal(object)
	if err == nil {
		found := &unstructured.Unstructured{}
		if err = found.UnmarshalJSON(text); err == nil {
			return found
		}
	}
	panic(err)
}
