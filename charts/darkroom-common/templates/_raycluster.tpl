{{/*
The spec of a RayCluster from `head` and `pools`, for the RayCluster of darkroom-cluster and for
a RayJob's own cluster.
*/}}

{{/* A pool merged over poolDefaults, as JSON. Maps merge; lists and null-free scalars replace. */}}
{{- define "darkroom.pool" -}}
{{- $merged := mergeOverwrite (deepCopy .root.Values.poolDefaults) (deepCopy (default dict .pool)) -}}
{{- toJson $merged -}}
{{- end -}}

{{/*
Worker groups of the live RayCluster, group name to group, as JSON: `{}` when there is none, and
always under `helm template`. The autoscaler owns `replicas` and `scaleStrategy`; writing back
what it last decided is the only way an upgrade leaves them alone, since workerGroupSpecs is an
atomic list and an absent `replicas` means 0.
*/}}
{{- define "darkroom.liveGroups" -}}
{{- $groups := dict -}}
{{- $live := lookup "ray.io/v1" "RayCluster" .Release.Namespace (include "darkroom.fullname" .) -}}
{{- range (dig "spec" "workerGroupSpecs" list (default dict $live)) -}}
{{- $_ := set $groups .groupName . -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{/* Takes dict: root, live (JSON of darkroom.liveGroups). */}}
{{- define "darkroom.rayClusterSpec" -}}
{{- $root := .root -}}
{{- $v := $root.Values -}}
{{- $live := fromJson .live -}}
rayVersion: {{ $v.rayVersion | quote }}
enableInTreeAutoscaling: {{ $v.autoscaler.enabled }}
{{- if $v.autoscaler.enabled }}
autoscalerOptions:
  # Explicit: without it the operator treats the cluster as v1 whatever Ray runs.
  version: v2
  idleTimeoutSeconds: {{ $v.autoscaler.idleTimeoutSeconds }}
  upscalingMode: {{ $v.autoscaler.upscalingMode }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  resources:
    {{- toYaml $v.autoscaler.resources | nindent 4 }}
  securityContext:
    {{- include "darkroom.containerSecurityContext" $root | nindent 4 }}
  env:
    - name: HOME
      value: /tmp/home
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    - name: kube-api-access
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
{{- end }}
authOptions:
  mode: {{ $v.auth.mode }}
  {{- with $v.auth.secretName }}
  secretName: {{ . }}
  {{- end }}
headGroupSpec:
  rayStartParams:
    {{- toYaml (merge (deepCopy $v.head.rayStartParams) (dict "num-cpus" "0" "num-gpus" "0")) | nindent 4 }}
  template:
    {{- include "darkroom.podTemplate" (dict "root" $root "role" "head" "group" $v.head) | nindent 4 }}
workerGroupSpecs:
  {{- range $name, $values := $v.pools }}
  {{- $pool := fromJson (include "darkroom.pool" (dict "root" $root "pool" $values)) }}
  {{- if and (not (kindIs "invalid" $values)) $pool.enabled }}
  - {{- include "darkroom.workerGroup" (dict "root" $root "name" $name "pool" $pool "live" (get $live $name)) | nindent 4 }}
  {{- end }}
  {{- else }}
  []
  {{- end }}
{{- end -}}

{{/* Takes dict: root, name, pool (merged), live (the group as it runs, or nothing). */}}
{{- define "darkroom.workerGroup" -}}
{{- $root := .root -}}
{{- $pool := .pool -}}
{{- $replicas := ternary $pool.minReplicas $pool.replicas (kindIs "invalid" $pool.replicas) -}}
{{- $autoscales := $root.Values.autoscaler.enabled -}}
{{- if and $autoscales .live -}}
{{- $replicas = max (int $pool.minReplicas) (min (int $pool.maxReplicas) (int (default 0 .live.replicas))) -}}
{{- end -}}
groupName: {{ .name }}
replicas: {{ $replicas }}
minReplicas: {{ $pool.minReplicas }}
maxReplicas: {{ $pool.maxReplicas }}
numOfHosts: {{ $pool.hosts }}
{{- if not (kindIs "invalid" $pool.idleTimeoutSeconds) }}
idleTimeoutSeconds: {{ $pool.idleTimeoutSeconds }}
{{- end }}
{{- if not (kindIs "invalid" $pool.priority) }}
priority: {{ $pool.priority }}
{{- end }}
{{- if and $autoscales .live }}
{{- with .live.scaleStrategy }}
scaleStrategy:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
labels:
  # Ray sets the same label on the node; here it tells the autoscaler which pool can satisfy it.
  {{- $labels := dict "ray.io/node-group" .name }}
  {{- if $pool.spot }}
  {{- $_ := set $labels "ray.io/market-type" "spot" }}
  {{- end }}
  {{- toYaml (merge (deepCopy $pool.labels) $labels) | nindent 2 }}
rayStartParams:
  {{- $params := dict "num-gpus" ($pool.gpus | toString) }}
  {{- if not (kindIs "invalid" $pool.cpus) }}
  {{- $_ := set $params "num-cpus" ($pool.cpus | toString) }}
  {{- end }}
  {{- toYaml (merge (deepCopy $pool.rayStartParams) $params) | nindent 2 }}
template:
  {{- include "darkroom.podTemplate" (dict "root" $root "role" "worker" "group" $pool) | nindent 2 }}
{{- end -}}
