// kueue-validate says what Kueue would say of RayJobs and RayClusters, without a cluster.
//
// It reads YAML documents from standard input and writes one JSON line for each: its name and the
// error of Kueue's own webhook at creation or, when that passes, of the Workload that its controller
// would make: the number of pod sets and their names, which the webhook of RayJobs does not count
// right (it forgets the submitter's). Empty when Kueue takes the object, or leaves it alone.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kueue "sigs.k8s.io/kueue/apis/kueue/v1beta2"
	"sigs.k8s.io/kueue/pkg/controller/jobframework"
	"sigs.k8s.io/kueue/pkg/controller/jobs/raycluster"
	"sigs.k8s.io/kueue/pkg/controller/jobs/rayjob"
	"sigs.k8s.io/yaml"
)

type verdict struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

func main() {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	encoder := json.NewEncoder(os.Stdout)
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if strings.TrimSpace(string(document)) == "" {
			continue
		}
		if err := encoder.Encode(judge(document)); err != nil {
			os.Exit(1)
		}
	}
}

func judge(document []byte) verdict {
	var head struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(document, &head); err != nil {
		return verdict{Error: err.Error()}
	}
	found := verdict{Name: head.Metadata.Name}
	if err := validate(context.Background(), head.Kind, document); err != nil {
		found.Error = err.Error()
	}
	return found
}

func validate(ctx context.Context, kind string, document []byte) error {
	switch kind {
	case "RayCluster":
		cluster := &rayv1.RayCluster{}
		if err := yaml.Unmarshal(document, cluster); err != nil {
			return err
		}
		if _, err := (&raycluster.RayClusterWebhook{}).ValidateCreate(ctx, cluster); err != nil {
			return err
		}
		return admit(ctx, (*raycluster.RayCluster)(cluster))
	case "RayJob":
		job := &rayv1.RayJob{}
		if err := yaml.Unmarshal(document, job); err != nil {
			return err
		}
		if job.Spec.SubmissionMode == "" {
			job.Spec.SubmissionMode = rayv1.K8sJobMode // as the CRD does
		}
		if _, err := (&rayjob.RayJobWebhook{}).ValidateCreate(ctx, job); err != nil {
			return err
		}
		if len(job.Spec.ClusterSelector) > 0 {
			return nil // Kueue leaves it alone.
		}
		return admit(ctx, (*rayjob.RayJob)(job))
	}
	return nil
}

// admit asks for the pod sets of a queued object, as Workload.spec.podSets would hold them: a list
// of at most MaxPodSets, and a map by name.
func admit(ctx context.Context, job jobframework.GenericJob) error {
	if jobframework.QueueName(job) == "" {
		return nil
	}
	podSets, err := job.PodSets(ctx, nil)
	if err != nil {
		return err
	}
	if len(podSets) > jobframework.MaxPodSets {
		return fmt.Errorf("the workload has %d pod sets, at most %d are taken", len(podSets), jobframework.MaxPodSets)
	}
	known := map[kueue.PodSetReference]bool{}
	for _, podSet := range podSets {
		if known[podSet.Name] {
			return fmt.Errorf("the workload has two pod sets %q", podSet.Name)
		}
		known[podSet.Name] = true
	}
	return nil
}
