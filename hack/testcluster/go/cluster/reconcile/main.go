// kuberay-reconcile says which worker pods the KubeRay operator keeps when a RayCluster changes, by the
// operator's own reconciler and without a cluster.
//
// It reads one JSON object from standard input: the RayCluster `before` and `after`. The operator makes
// the pods of the first, they run, and it meets the second. It writes what it made of the first, and of
// each worker group how many workers are left of it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// More than the reconciler ever asks for: it comes back after every kind of object that it made.
const rounds = 5

type question struct {
	Before rayv1.RayCluster `json:"before"`
	After  rayv1.RayCluster `json:"after"`
}

type answer struct {
	Pods         []corev1.Pod         `json:"pods"`
	Services     []corev1.Service     `json:"services"`
	Secrets      []corev1.Secret      `json:"secrets"`
	RoleBindings []rbacv1.RoleBinding `json:"roleBindings"`
	Left         map[string]int       `json:"left"`
}

func main() {
	var asked question
	err := json.NewDecoder(os.Stdin).Decode(&asked)
	var said answer
	if err == nil {
		said, err = change(context.Background(), asked)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(said)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// offline is the part of a manager that the reconciler takes: its client and its scheme.
type offline struct {
	manager.Manager
	client client.Client
	scheme *runtime.Scheme
}

func (o offline) GetClient() client.Client                        { return o.client }
func (o offline) GetScheme() *runtime.Scheme                      { return o.scheme }
func (o offline) GetFieldIndexer() client.FieldIndexer            { return o }
func (o offline) GetEventRecorderFor(string) record.EventRecorder { return &record.FakeRecorder{} }
func (o offline) IndexField(context.Context, client.Object, string, client.IndexerFunc) error {
	return nil
}

func change(ctx context.Context, asked question) (answer, error) {
	said := answer{Left: map[string]int{}}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return said, err
	}
	if err := rayv1.AddToScheme(scheme); err != nil {
		return said, err
	}
	cluster := asked.Before.DeepCopy()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: cluster.Spec.HeadGroupSpec.Template.Spec.ServiceAccountName, Namespace: cluster.Namespace,
	}}
	store := fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(cluster, account).WithStatusSubresource(cluster, &corev1.Pod{}).Build()
	reconciler := ray.NewReconciler(ctx, offline{client: store, scheme: scheme}, ray.RayClusterReconcilerOptions{})
	request := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: cluster.Namespace, Name: cluster.Name}}
	reconcile := func() error {
		for range rounds {
			if _, err := reconciler.Reconcile(ctx, request); err != nil {
				return err
			}
		}
		return nil
	}
	if err := reconcile(); err != nil {
		return said, err
	}
	if err := said.list(ctx, store); err != nil {
		return said, err
	}
	first, err := run(ctx, store)
	if err != nil {
		return said, err
	}
	current := &rayv1.RayCluster{}
	if err := store.Get(ctx, request.NamespacedName, current); err != nil {
		return said, err
	}
	current.Spec = asked.After.Spec
	if err := store.Update(ctx, current); err != nil {
		return said, err
	}
	if err := reconcile(); err != nil {
		return said, err
	}
	pods := &corev1.PodList{}
	if err := store.List(ctx, pods); err != nil {
		return said, err
	}
	for _, pod := range pods.Items {
		if group := pod.Labels[utils.RayNodeGroupLabelKey]; first[pod.Name] && group != utils.RayNodeHeadGroupLabelValue {
			said.Left[group]++
		}
	}
	return said, nil
}

// list takes in what the operator has made.
func (said *answer) list(ctx context.Context, store client.Client) error {
	pods, services, secrets := &corev1.PodList{}, &corev1.ServiceList{}, &corev1.SecretList{}
	bindings := &rbacv1.RoleBindingList{}
	for _, kind := range []client.ObjectList{pods, services, secrets, bindings} {
		if err := store.List(ctx, kind); err != nil {
			return err
		}
	}
	said.Pods, said.Services, said.Secrets, said.RoleBindings = pods.Items, services.Items, secrets.Items, bindings.Items
	return nil
}

// run lets every pod run, as a kubelet would, and names them.
func run(ctx context.Context, store client.Client) (map[string]bool, error) {
	pods := &corev1.PodList{}
	if err := store.List(ctx, pods); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, pod := range pods.Items {
		names[pod.Name] = true
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if err := store.Status().Update(ctx, &pod); err != nil {
			return nil, err
		}
	}
	return names, nil
}
