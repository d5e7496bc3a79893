{{/* The RayJob; that of a schedule is the pattern from which each run is made. */}}
{{- define "darkroom-job.rayJob" -}}
{{- $labels := dict -}}
{{- with .Values.kueue.queueName -}}
{{- $_ := set $labels "kueue.x-k8s.io/queue-name" . -}}
{{- end -}}
{{- if .Values.schedule.cron -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" "darkroom-schedule" -}}
{{- end -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  {{- include "darkroom.metadata" (dict "root" . "name" (include "darkroom-job.name" .) "labels" $labels) | nindent 2 }}
  {{- with include "darkroom.texts" (list .Values.annotations (include "darkroom-job.annotations" . | fromYaml)) | fromJson }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "darkroom-job.spec" . | nindent 2 }}
{{- end -}}

{{/*
The command as one shell line. Bash in the submitter pod, or sh on the head with HTTPMode, takes
the quotes off once. The kubelet looks at a container's arguments before bash does and turns
`$(NAME)` into a variable and `$$` into `$`, so the submitter's line has every `$` doubled.
*/}}
{{- define "darkroom-job.entrypoint" -}}
{{- $words := list "darkroom" .Values.verb -}}
{{- with .Values.recipe }}{{ $words = concat $words (list "--recipe" .) }}{{ end -}}
{{- with .Values.input }}{{ $words = concat $words (list "--input" .) }}{{ end -}}
{{- $words = concat $words (list "--output" .Values.output) -}}
{{- if ne .Values.onExisting "refuse" }}{{ $words = append $words (printf "--%s" .Values.onExisting) }}{{ end -}}
{{- $quoted := list -}}
{{- range concat $words .Values.args -}}
{{- $quoted = append $quoted (include "darkroom.shellQuote" .) -}}
{{- end -}}
{{- $line := join " " $quoted -}}
{{- if ne .Values.submission.mode "HTTPMode" -}}
{{- $line = replace "$" "$$" $line -}}
{{- end -}}
{{- $line -}}
{{- end -}}

{{/* ttl, or rules, or nothing: the two ways of KubeRay cannot be mixed, and are not. */}}
{{- define "darkroom-job.cleanup" -}}
{{- $mode := .Values.cleanup.mode -}}
{{- if eq $mode "auto" -}}
{{- $mode = ternary "keep" "ttl" (ne .Values.clusterSelector "") -}}
{{- end -}}
{{- if eq $mode "ttl" -}}
shutdownAfterJobFinishes: true
ttlSecondsAfterFinished: {{ int64 .Values.cleanup.ttlSeconds }}
{{- else if eq $mode "rules" -}}
deletionStrategy:
  deletionRules:
    {{- $policies := dict "workers" "DeleteWorkers" "cluster" "DeleteCluster" "self" "DeleteSelf" }}
    {{- range $outcome, $status := dict "onSuccess" "SUCCEEDED" "onFailure" "FAILED" }}
    {{- $times := get $.Values.cleanup.rules $outcome }}
    {{- range $part := list "workers" "cluster" "self" }}
    {{- if hasKey $times $part }}
    - policy: {{ get $policies $part }}
      condition:
        jobStatus: {{ $status }}
        ttlSeconds: {{ get $times $part | int64 }}
    {{- end }}
    {{- end }}
    {{- end }}
{{- end -}}
{{- end -}}

{{- define "darkroom-job.spec" -}}
entrypoint: {{ include "darkroom-job.entrypoint" . | printf "%+q" }}
submissionMode: {{ .Values.submission.mode }}
{{- if eq .Values.submission.mode "K8sJobMode" }}
submitterConfig:
  backoffLimit: {{ int64 .Values.submission.backoffLimit }}
submitterPodTemplate:
  {{- /* Address, submission id and token come from the operator. */}}
  {{- $container := dict "name" "ray-job-submitter" }}
  {{- include "darkroom.clientPod" (dict "root" . "group" .Values.submission "container" $container) | nindent 2 }}
{{- end }}
{{- if not (kindIs "invalid" .Values.deadlines.activeSeconds) }}
activeDeadlineSeconds: {{ int64 .Values.deadlines.activeSeconds }}
{{- end }}
{{- if not (kindIs "invalid" .Values.deadlines.preRunningSeconds) }}
preRunningDeadlineSeconds: {{ int64 .Values.deadlines.preRunningSeconds }}
{{- end }}
backoffLimit: {{ int64 .Values.backoffLimit }}
{{- with include "darkroom-job.cleanup" . }}
{{ . }}
{{- end }}
{{- $more := pick .Values "runtimeEnvYAML" "entrypointNumCpus" "entrypointNumGpus" "entrypointResources" "metadata" "managedBy" "suspend" }}
{{- range $field, $value := include "darkroom.combine" (list $more) | fromJson }}
{{- if $value }}
{{ dict $field $value | toYaml }}
{{- end }}
{{- end }}
{{- if .Values.clusterSelector }}
clusterSelector:
  ray.io/cluster: {{ .Values.clusterSelector | quote }}
{{- else }}
rayClusterSpec:
  {{- include "darkroom.rayClusterSpec" (dict "root" . "live" "{}") | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
A hashed name means that the next change makes another object; the one that runs must outlive that,
so neither Helm (and Flux's helm-controller) nor Argo CD may remove what is no longer rendered. To Argo CD
it is no difference either: a self-heal would try to remove it again and again.
*/}}
{{- define "darkroom-job.annotations" -}}
{{- if .Values.nameHash }}
helm.sh/resource-policy: keep
argocd.argoproj.io/sync-options: Prune=false
argocd.argoproj.io/compare-options: IgnoreExtraneous
{{- end }}
{{- if and .Values.kueue.queueName .Values.autoscaler.enabled }}
kueue.x-k8s.io/elastic-job: "true"
{{- end }}
{{- end -}}

{{- define "darkroom-job.name" -}}
{{- $name := include "darkroom.fullname" . -}}
{{- if .Values.nameHash -}}
{{- printf "%s-%s" ($name | trunc 38 | trimSuffix "-") (include "darkroom-job.spec" . | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}
