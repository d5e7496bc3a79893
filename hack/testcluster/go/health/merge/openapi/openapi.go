// Package openapi names what Argo CD asks a server's schemas for.
package openapi

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/util/proto"
)

// Resources finds the schema of a kind, or nil.
type Resources interface {
	LookupResource(gvk schema.GroupVersionKind) proto.Schema
}

// None has no schemas. For a custom resource that makes no difference: a CRD has no place for a list's
// merge key, and without one Argo CD replaces lists as a whole, schema or not.
type None struct{}

// LookupResource finds nothing.
func (None) LookupResource(schema.GroupVersionKind) proto.Schema { return nil }
