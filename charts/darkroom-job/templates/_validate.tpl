{{- define "darkroom-job.validate" -}}
{{- include "darkroom.validate.name" (dict "field" "fullnameOverride" "name" (include "darkroom-job.name" .) "limit" (include "darkroom-job.nameLimit" .)) -}}
{{- include "darkroom.validate" . -}}
{{- if not .Values.verb -}}
{{- include "darkroom.refuse" (list "verb-required" "verb" "is empty" "name what to run, such as train") -}}
{{- end -}}
{{- if not .Values.output -}}
{{- include "darkroom.refuse" (list "output-required" "output" "is empty" "say where to publish, such as s3://bucket/run") -}}
{{- end -}}
{{- include "darkroom.validate.podGroup" (dict "root" . "field" "submission" "group" .Values.submission "taken" (list "ray-job-submitter")) -}}
{{- if eq .Values.submission.mode "HTTPMode" -}}
{{- range $name, $value := omit .Values.submission "mode" "backoffLimit" "resources" -}}
{{- if $value -}}
{{- include "darkroom.refuse" (list "submission-ignored" (printf "submission.%s" $name) "is given with mode HTTPMode, in which there is no submitter pod" "remove it, or use K8sJobMode") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "darkroom-job.validate.schedule" . -}}
{{- include "darkroom-job.validate.runtime" . -}}
{{- include "darkroom-job.validate.cleanup" . -}}
{{- if .Values.clusterSelector -}}
{{- include "darkroom-job.validate.selector" . -}}
{{- else -}}
{{- include "darkroom.validate.cluster" . -}}
{{- include "darkroom.validate.workers" (dict "root" . "rule" "job-no-workers" "problem" "has no worker, and no work runs on the head") -}}
{{- if or (gt (int .Values.backoffLimit) 0) .Values.nameHash .Values.schedule.cron -}}
{{- include "darkroom.validate.redisName" (list . "the clusters of several runs (backoffLimit, nameHash or schedule)") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the submitter's shell or Ray reads as text of its own. */}}
{{- define "darkroom-job.validate.runtime" -}}
{{- with .Values.runtimeEnvYAML -}}
{{- if regexMatch (include "darkroom.credentials" $) . -}}
{{- include "darkroom.refuse" (list "static-credentials" "runtimeEnvYAML" "names a credential, and anyone can read it there" "use s3.identity, or envFrom with a Secret") -}}
{{- end -}}
{{- if hasKey (fromYaml .) "Error" -}}
{{- include "darkroom.refuse" (list "runtime-env-yaml" "runtimeEnvYAML" "is not a YAML mapping" "write it as in `ray job submit --runtime-env`") -}}
{{- end -}}
{{- end -}}
{{- if and (ne .Values.submission.mode "HTTPMode") (regexMatch "[$`]" (print .Values.runtimeEnvYAML (toJson .Values.metadata))) -}}
{{- include "darkroom.refuse" (list "runtime-env-shell" "runtimeEnvYAML" "or metadata has `$` or a backtick, which the submitter's shell runs" "use submission.mode HTTPMode, or do without") -}}
{{- end -}}
{{- with .Values.entrypointResources -}}
{{- if hasKey (fromJson .) "Error" -}}
{{- include "darkroom.refuse" (list "entrypoint-resources" "entrypointResources" (printf "is %q, which is no JSON" .) "write it as in {\"disk\": 1}") -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := include "darkroom-job.annotations" . | fromYaml -}}
{{- if and (hasKey $.Values.annotations $key) (ne (get $.Values.annotations $key) $value) -}}
{{- include "darkroom.refuse" (list "reserved-annotation" "annotations" (printf "has the key %q, which the chart sets to %q here" $key $value) "remove it") -}}
{{- end -}}
{{- end -}}
{{- if and .Values.suspend .Values.clusterSelector -}}
{{- include "darkroom.refuse" (list "suspend-cluster-selector" "suspend" "is set beside clusterSelector" "only a cluster of the job's own can wait") -}}
{{- end -}}
{{- if and .Values.suspend (has .Values.cleanup.mode (list "rules" "keep")) -}}
{{- include "darkroom.refuse" (list "suspend-needs-shutdown" "suspend" (printf "is set with cleanup.mode %q" .Values.cleanup.mode) "use `ttl`") -}}
{{- end -}}
{{- end -}}

{{/*
On a cluster that is not the job's own. What describes a cluster would be ignored; the chart's
defaults, by which it is told that nothing was said, stand in a file that generate.py writes.
*/}}
{{- define "darkroom-job.validate.selector" -}}
{{- $defaults := .Files.Get "files/cluster-defaults.json" | fromJson -}}
{{- if and .Values.schedule.cron (not .Values.schedule.rayCronJob) -}}
{{- $defaults = omit $defaults "networkPolicy" -}}{{/* the pod that waits has a policy here */}}
{{- end -}}
{{- range $name, $default := $defaults -}}
{{- $value := get $.Values $name -}}
{{- $given := include "darkroom.overlay" (list dict (dict $name $value)) | fromJson -}}
{{- $unsaid := include "darkroom.overlay" (list dict (dict $name $default)) | fromJson -}}
{{- if and $value (ne (toJson $given) (toJson $unsaid)) -}}
{{- include "darkroom.refuse" (list "cluster-selector-ignores" $name "is given beside clusterSelector, whose cluster it does not change" "set it where the cluster is made; submission.env and runtimeEnvYAML are this job's") -}}
{{- end -}}
{{- end -}}
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
