{{/* What values say wrong of a cluster as a whole: see _validate.tpl. */}}

{{/* A Ray cluster's values: head, pools, autoscaler. Takes the root. */}}
{{- define "darkroom.validate.cluster" -}}
{{- $root := . -}}
{{- include "darkroom.validate.serviceAccount" . -}}
{{- include "darkroom.validate.podGroup" (dict "root" . "field" "head" "group" .Values.head "taken" (ternary (list "ray-head" "autoscaler") (list "ray-head") .Values.autoscaler.enabled)) -}}
{{- include "darkroom.validate.gpus" (dict "field" "head" "gpus" 0 "told" (get .Values.head.rayStartParams "num-gpus") "resources" .Values.head.resources "name" "") -}}
{{- include "darkroom.validate.env" (dict "field" "autoscaler.env" "env" .Values.autoscaler.env) -}}
{{- include "darkroom.validate.headEnv" (dict "root" . "field" "head.env" "env" .Values.head.env) -}}
{{- include "darkroom.validate.rayStartParams" (dict "field" "head.rayStartParams" "params" .Values.head.rayStartParams) -}}
{{- include "darkroom.validate.resources" (dict "field" "autoscaler.resources" "resources" .Values.autoscaler.resources) -}}
{{- $pools := list -}}
{{- range $name, $values := .Values.pools -}}
{{- if not (kindIs "invalid" $values) -}}
{{- $pool := fromJson (include "darkroom.pool" (dict "root" $root "pool" $values)) -}}
{{- if $pool.enabled -}}
{{- $pools = append $pools $name -}}
{{- include "darkroom.validate.pool" (dict "root" $root "name" $name "pool" $pool) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "darkroom.validate.kueue" (dict "root" $root "pools" $pools) -}}
{{- end -}}

{{/*
Refused where no worker could ever run: with the autoscaler what a pool may grow to counts, without it
what it is rendered with. Takes dict: root, rule, problem.
*/}}
{{- define "darkroom.validate.workers" -}}
{{- $root := .root -}}
{{- $autoscales := $root.Values.autoscaler.enabled -}}
{{- $workers := 0 -}}
{{- range $values := $root.Values.pools -}}
{{- $pool := include "darkroom.pool" (dict "root" $root "pool" $values) | fromJson -}}
{{- if and (not (kindIs "invalid" $values)) $pool.enabled -}}
{{- $rendered := include "darkroom.poolReplicas" $pool | int64 -}}
{{- $workers = add $workers (ternary (int64 $pool.maxReplicas) $rendered $autoscales) -}}
{{- end -}}
{{- end -}}
{{- if not $workers -}}
{{- $remedy := ternary "give a pool with maxReplicas 1 or more" "give a pool with minReplicas 1 or more: without the autoscaler nobody starts another" $autoscales -}}
{{- include "darkroom.refuse" (list .rule "pools" .problem $remedy) -}}
{{- end -}}
{{- end -}}

{{/* Two clusters with one name in Redis are one to Ray: the newer takes up the state of the older, whose end removes it. Takes list: root, what makes several. */}}
{{- define "darkroom.validate.redisName" -}}
{{- $options := default dict (index . 0).Values.gcsFaultToleranceOptions -}}
{{- if $options.externalStorageNamespace -}}
{{- include "darkroom.refuse" (list "redis-namespace-shared" "gcsFaultToleranceOptions.externalStorageNamespace" (printf "is %q, which %s would share" $options.externalStorageNamespace (index . 1)) "remove it: each cluster then takes a name of its own") -}}
{{- end -}}
{{- end -}}
