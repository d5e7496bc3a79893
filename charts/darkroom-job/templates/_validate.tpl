{{- define "darkroom-job.validate" -}}
{{- include "darkroom.validate.name" (dict "field" "fullnameOverride" "name" (include "darkroom-job.name" .) "limit" 47) -}}
{{- include "darkroom.validate" . -}}
{{- if not .Values.verb -}}
{{- include "darkroom.refuse" (list "verb-required" "verb" "is empty" "name what to run, such as train") -}}
{{- end -}}
{{- if not .Values.output -}}
{{- include "darkroom.refuse" (list "output-required" "output" "is empty" "say where to publish, such as s3://bucket/run") -}}
{{- end -}}
{{- include "darkroom.validate.resources" (dict "field" "submission.resources" "resources" .Values.submission.resources) -}}
{{- range list "activeSeconds" "preRunningSeconds" -}}
{{- $value := index $.Values.deadlines . -}}
{{- if and (not (kindIs "invalid" $value)) (le (int $value) 0) -}}
{{- include "darkroom.refuse" (list "deadline-positive" (printf "deadlines.%s" .) (printf "is %d" (int $value)) "use a positive number of seconds, or null for no limit") -}}
{{- end -}}
{{- end -}}
{{- if lt (int .Values.backoffLimit) 0 -}}
{{- include "darkroom.refuse" (list "backoff-negative" "backoffLimit" (printf "is %d" (int .Values.backoffLimit)) "use 0 or more") -}}
{{- end -}}
{{- if lt (int .Values.cleanup.ttlSeconds) 0 -}}
{{- include "darkroom.refuse" (list "ttl-negative" "cleanup.ttlSeconds" (printf "is %d" (int .Values.cleanup.ttlSeconds)) "use 0 or more") -}}
{{- end -}}
{{- include "darkroom-job.validate.cleanup" . -}}
{{- if .Values.clusterSelector -}}
{{- include "darkroom-job.validate.selector" . -}}
{{- else -}}
{{- include "darkroom.validate.cluster" . -}}
{{- end -}}
{{- end -}}

{{/* On a cluster that is not the job's own. */}}
{{- define "darkroom-job.validate.selector" -}}
{{- if gt (int .Values.backoffLimit) 0 -}}
{{- include "darkroom.refuse" (list "cluster-selector-backoff" "backoffLimit" (printf "is %d beside clusterSelector" (int .Values.backoffLimit)) "set it to 0: every retry makes a cluster, and this job has none of its own") -}}
{{- end -}}
{{- if eq .Values.cleanup.mode "ttl" -}}
{{- include "darkroom.refuse" (list "cluster-selector-cleanup" "cleanup.mode" "is `ttl` beside clusterSelector" "the selected cluster is not this job's to delete; use `keep`, or `rules` with `self`") -}}
{{- end -}}
{{- if .Values.kueue.queueName -}}
{{- include "darkroom.refuse" (list "kueue-needs-own-cluster" "kueue.queueName" "is set beside clusterSelector" "queue the cluster, or give the job its own") -}}
{{- end -}}
{{- end -}}

{{- define "darkroom-job.validate.cleanup" -}}
{{- $values := .Values -}}
{{- $isRules := eq $values.cleanup.mode "rules" -}}
{{- $rules := $values.cleanup.rules -}}
{{- if and $values.kueue.queueName (has $values.cleanup.mode (list "rules" "keep")) -}}
{{- include "darkroom.refuse" (list "kueue-needs-shutdown" "cleanup.mode" (printf "is %q beside kueue.queueName" $values.cleanup.mode) "Kueue frees quota only with `ttl`") -}}
{{- end -}}
{{- if and (not $isRules) (or $rules.onSuccess $rules.onFailure) -}}
{{- include "darkroom.refuse" (list "deletion-rules-and-shutdown" "cleanup.rules" (printf "is given with mode %q" $values.cleanup.mode) "set cleanup.mode to `rules`, or remove the rules") -}}
{{- end -}}
{{- if and $isRules (not $rules.onSuccess) (not $rules.onFailure) -}}
{{- include "darkroom.refuse" (list "deletion-strategy-empty" "cleanup.rules" "is empty with mode `rules`" "give onSuccess or onFailure") -}}
{{- end -}}
{{- if $isRules -}}
{{- range $outcome, $times := $rules -}}
{{- $field := printf "cleanup.rules.%s" $outcome -}}
{{- $last := 0 -}}
{{- range $part := list "workers" "cluster" "self" -}}
{{- if hasKey $times $part -}}
{{- $seconds := int (get $times $part) -}}
{{- if lt $seconds 0 -}}
{{- include "darkroom.refuse" (list "deletion-ttl-negative" (printf "%s.%s" $field $part) (printf "is %d" $seconds) "use 0 or more") -}}
{{- end -}}
{{- if lt $seconds $last -}}
{{- include "darkroom.refuse" (list "deletion-ttl-order" (printf "%s.%s" $field $part) (printf "is %d, before a part of it goes at %d" $seconds $last) "delete workers first, then the cluster, then the RayJob") -}}
{{- end -}}
{{- $last = $seconds -}}
{{- if and $values.clusterSelector (ne $part "self") -}}
{{- include "darkroom.refuse" (list "cluster-selector-deletion" (printf "%s.%s" $field $part) "is given beside clusterSelector" "only `self` is this job's to delete") -}}
{{- end -}}
{{- if and (eq $part "workers") $values.autoscaler.enabled -}}
{{- include "darkroom.refuse" (list "delete-workers-autoscaling" (printf "%s.workers" $field) "is given with the autoscaler on" "use `cluster`, or set autoscaler.enabled to false") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
