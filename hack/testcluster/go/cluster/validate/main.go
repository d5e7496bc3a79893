// kuberay-validate says what the KubeRay operator would say of manifests, without a cluster.
//
// It reads YAML documents from standard input and writes one JSON line for each: its name and the
// error of the operator's own Validate functions, empty when they pass, or the operator's shell
// line for `-submit-command`. Unknown fields are errors, as they are for the API server.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/common"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

type verdict struct {
	Name    string `json:"name"`
	Error   string `json:"error"`
	Command string `json:"command,omitempty"`
}

func main() {
	submitCommand := flag.Bool("submit-command", false, "print each RayJob's submit command")
	flag.Parse()
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
		if err := encoder.Encode(judge(document, *submitCommand)); err != nil {
			os.Exit(1)
		}
	}
}

func judge(document []byte, submitCommand bool) verdict {
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
	err := validate(head.Kind, document, submitCommand, &found)
	if err != nil {
		found.Error = err.Error()
	}
	return found
}

func validate(kind string, document []byte, submitCommand bool, found *verdict) error {
	switch kind {
	case "RayCluster":
		cluster := &rayv1.RayCluster{}
		if err := yaml.UnmarshalStrict(document, cluster); err != nil {
			return err
		}
		return errors.Join(
			utils.ValidateRayClusterMetadata(cluster.ObjectMeta),
			utils.ValidateRayClusterSpec(&cluster.Spec, cluster.Annotations),
			utils.ValidateRayClusterUpgradeOptions(cluster),
		)
	case "RayJob":
		job := &rayv1.RayJob{}
		if err := yaml.UnmarshalStrict(document, job); err != nil {
			return err
		}
		if submitCommand {
			job.Status.JobId, job.Status.DashboardURL = "id", "head:8265"
			words, err := common.BuildJobSubmitCommand(job, rayv1.K8sJobMode)
			found.Command = strings.Join(words, " ")
			return err
		}
		return errors.Join(
			utils.ValidateRayJobMetadata(job.ObjectMeta),
			utils.ValidateRayJobSpec(job),
		)
	case "RayService":
		service := &rayv1.RayService{}
		if err := yaml.UnmarshalStrict(document, service); err != nil {
			return err
		}
		return errors.Join(
			utils.ValidateRayServiceMetadata(service.ObjectMeta),
			utils.ValidateRayServiceSpec(service),
		)
	}
	return nil
}
