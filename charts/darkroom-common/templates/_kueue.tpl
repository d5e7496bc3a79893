{{/*
Kueue: what a queued RayCluster carries, and what values cannot have beside a queue. Rules and their
names are those of src/darkroom/cluster/queue_rules.py, held to Kueue's own source.
*/}}

{{/*
The spec of an elastic RayCluster, whose pods Kueue holds by a gate and lets go one by one. It adds the
gate to the templates at creation only, and refuses every later change that lacks it.
Takes dict: root, spec (YAML).
*/}}
{{- define "darkroom.kueue.gated" -}}
{{- if and .root.Values.kueue.queueName .root.Values.autoscaler.enabled -}}
{{- $spec := fromYaml .spec -}}
{{- range prepend $spec.workerGroupSpecs $spec.headGroupSpec -}}
{{- $gates := concat (default list .template.spec.schedulingGates) (list (dict "name" "kueue.x-k8s.io/elastic-job")) -}}
{{- $_ := set .template.spec "schedulingGates" $gates -}}
{{- end -}}
{{- toYaml $spec -}}
{{- else -}}
{{- .spec -}}
{{- end -}}
{{- end -}}

{{/* Takes dict: root, pools (names of those that render). */}}
{{- define "darkroom.validate.kueue" -}}
{{- $pools := .pools -}}
{{- $queue := .root.Values.kueue.queueName -}}
{{- if $queue -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" $queue) -}}
{{- include "darkroom.refuse" (list "kueue-queue-name" "kueue.queueName" (printf "is %q" $queue) "use lower case letters, digits, '-' and '.'") -}}
{{- end -}}
{{- /* One pod set for the head, one for each pool, and one for a job's submitter. */ -}}
{{- $taken := list "head" -}}
{{- if eq (dig "submission" "mode" "" .root.Values.AsMap) "K8sJobMode" -}}
{{- $taken = append $taken "submitter" -}}
{{- end -}}
{{- $limit := sub 18 (len $taken) | int -}}
{{- if gt (len $pools) $limit -}}
{{- include "darkroom.refuse" (list "kueue-worker-groups" "pools" (printf "has %d pools" (len $pools)) (printf "Kueue admits at most %d here" $limit)) -}}
{{- end -}}
{{- range $taken -}}
{{- if has . $pools -}}
{{- include "darkroom.refuse" (list "kueue-group-name" (printf "pools.%s" .) "is the name of Kueue's own pod set" "rename the pool") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
