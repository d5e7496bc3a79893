{{/*
The spec of a RayCluster from `head` and `pools`, for the RayCluster of darkroom-cluster and for
the clusters of a RayJob and a RayService.
*/}}

{{/*
A pool merged over poolDefaults, as JSON. Maps merge, environments too where one is a list, and null
means what poolDefaults says; below a pool's own keys it takes a default away. A GPU that stands in
`resources` counts as one of `gpus`, so that Ray offers what the node is paid for.
*/}}
{{- define "darkroom.pool" -}}
{{- $defaults := .root.Values.poolDefaults -}}
{{- $pool := dict -}}
{{- range $key, $value := .pool -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $pool $key $value -}}
{{- end -}}
{{- end -}}
{{- $merged := include "darkroom.overlay" (list $defaults $pool) | fromJson -}}
{{- $_ := set $merged "env" (include "darkroom.envList" (list $defaults.env $pool.env) | fromJsonArray) -}}
{{- $found := include "darkroom.gpuOf" (dict "resources" $merged.resources "name" $merged.gpuResource) | fromJson -}}
{{- if $found.name -}}
{{- $_ := set $merged "gpuResource" $found.name -}}
{{- $_ := set $merged "gpus" (default $found.count $merged.gpus) -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* Name and count of the GPUs in resources, as JSON. Takes dict: resources, name (that also counts). */}}
{{- define "darkroom.gpuOf" -}}
{{- $name := "" -}}
{{- $count := 0 -}}
{{- $wanted := .name -}}
{{- range $quantities := list .resources.requests .resources.limits -}}
{{- range $key, $value := $quantities -}}
{{- if and (or (eq $key $wanted) (regexMatch "gpu([.]shared)?$|/mig-.+$|^gpu[.]intel[.]com/" $key)) (gt (int (toString $value)) 0) -}}
{{- $name = $key -}}
{{- $count = int (toString $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "name" $name "count" $count) -}}
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

{{/* Takes dict: root, live (JSON of darkroom.liveGroups), and perhaps more (see darkroom.rayPod). */}}
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
  idleTimeoutSeconds: {{ int64 $v.autoscaler.idleTimeoutSeconds }}
  upscalingMode: {{ $v.autoscaler.upscalingMode }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  resources:
    {{- include "darkroom.resources" $v.autoscaler.resources | fromJson | toYaml | nindent 4 }}
  securityContext:
    {{- include "darkroom.containerSecurityContext" $root | nindent 4 }}
  env:
    {{- include "darkroom.envList" (list (dict "HOME" "/tmp/home") $v.autoscaler.env) | fromJsonArray | toYaml | nindent 4 }}
  {{- with $v.autoscaler.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
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
  secretName: {{ . | quote }}
  {{- end }}
{{- with $v.gcsFaultToleranceOptions }}
gcsFaultToleranceOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.head.service.annotations }}
headServiceAnnotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
headGroupSpec:
  {{- with $v.head.service.type }}
  serviceType: {{ . }}
  {{- end }}
  rayStartParams:
    {{- toYaml (merge (deepCopy $v.head.rayStartParams) (dict "num-cpus" "0" "num-gpus" "0")) | nindent 4 }}
  template:
    {{- include "darkroom.rayPod" (dict "root" $root "role" "head" "group" $v.head "more" $.more) | nindent 4 }}
workerGroupSpecs:
  {{- $groups := 0 }}
  {{- range $name, $values := $v.pools }}
  {{- $pool := fromJson (include "darkroom.pool" (dict "root" $root "pool" $values)) }}
  {{- if and (not (kindIs "invalid" $values)) $pool.enabled }}
  {{- $groups = add1 $groups }}
  - {{- include "darkroom.workerGroup" (dict "root" $root "name" $name "pool" $pool "live" (get $live $name) "more" $.more) | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- if not $groups }}
  []
  {{- end }}
{{- end -}}

{{/* Workers that a merged pool is rendered with, unless it runs with others. */}}
{{- define "darkroom.poolReplicas" -}}
{{- ternary .minReplicas .replicas (kindIs "invalid" .replicas) | int64 -}}
{{- end -}}

{{/* Takes dict: root, name, pool (merged), live (the group as it runs, or nothing), more (as above). */}}
{{- define "darkroom.workerGroup" -}}
{{- $root := .root -}}
{{- $pool := .pool -}}
{{- $replicas := include "darkroom.poolReplicas" $pool -}}
{{- $autoscales := $root.Values.autoscaler.enabled -}}
{{- if and $autoscales .live -}}
{{- $replicas = max (int $pool.minReplicas) (min (int $pool.maxReplicas) (int (default 0 .live.replicas))) -}}
{{- end -}}
groupName: {{ .name | quote }}
replicas: {{ int64 $replicas }}
minReplicas: {{ int64 $pool.minReplicas }}
maxReplicas: {{ int64 $pool.maxReplicas }}
numOfHosts: {{ int64 $pool.hosts }}
{{- if not (kindIs "invalid" $pool.idleTimeoutSeconds) }}
idleTimeoutSeconds: {{ int64 $pool.idleTimeoutSeconds }}
{{- end }}
{{- if not (kindIs "invalid" $pool.priority) }}
priority: {{ int64 $pool.priority }}
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
  {{- include "darkroom.rayStartParams" $pool | fromJson | toYaml | nindent 2 }}
template:
  {{- include "darkroom.rayPod" (dict "root" $root "role" "worker" "group" $pool "more" .more) | nindent 2 }}
{{- end -}}

{{/*
What `ray start` of a merged pool is told, as JSON. Unless `cpus` says otherwise a pool with GPUs
offers no CPU: work without a GPU then never starts a GPU node, and never waits for one.
*/}}
{{- define "darkroom.rayStartParams" -}}
{{- $params := dict "num-gpus" (int64 .gpus | toString) -}}
{{- if not (kindIs "invalid" .cpus) -}}
{{- $_ := set $params "num-cpus" (int64 .cpus | toString) -}}
{{- else if gt (int (default .gpus (get .rayStartParams "num-gpus"))) 0 -}}
{{- $_ := set $params "num-cpus" "0" -}}
{{- end -}}
{{- toJson (merge (deepCopy .rayStartParams) $params) -}}
{{- end -}}
