{{- define "darkroom-service.validate" -}}
{{- $v := .Values -}}
{{- include "darkroom.validate.name" (dict "field" "fullnameOverride" "name" (include "darkroom.fullname" .) "limit" 47) -}}
{{- include "darkroom.validate" . -}}
{{- if not $v.models -}}
{{- include "darkroom.refuse" (list "models-required" "models" "is empty" "say what to draw with, such as s3://bucket/run") -}}
{{- end -}}
{{- if and $v.names (ne (len $v.names) (len $v.models)) -}}
{{- include "darkroom.refuse" (list "names-count" "names" (printf "has %d names for %d models" (len $v.names) (len $v.models)) "give one for each, or none") -}}
{{- end -}}
{{- if ne (len (uniq $v.names)) (len $v.names) -}}
{{- include "darkroom.refuse" (list "names-twice" "names" "has one name for two models" "give each its own") -}}
{{- end -}}
{{- if and $v.jobs (not (dig "place" "" $v.jobs)) -}}
{{- include "darkroom.refuse" (list "jobs-place" "jobs.place" "is empty beside other settings of jobs, of which none are then taken" "give an s3:// URI, or remove them") -}}
{{- end -}}
{{- with dig "place" "" $v.jobs -}}
{{- if not (hasPrefix "s3://" .) -}}
{{- include "darkroom.refuse" (list "jobs-place" "jobs.place" (printf "is %s, which no other pod sees" .) "give an s3:// URI") -}}
{{- end -}}
{{- end -}}
{{- if and (not $v.keys.secretName) (not $v.keys.disabled) -}}
{{- include "darkroom.refuse" (list "keys-required" "keys.secretName" "is empty" "name a Secret with API keys, or set keys.disabled") -}}
{{- end -}}
{{- if and $v.keys.secretName $v.keys.disabled -}}
{{- include "darkroom.refuse" (list "keys-twice" "keys.secretName" "is set beside keys.disabled" "choose one") -}}
{{- end -}}
{{- if semverCompare "<2.60.0" $v.rayVersion -}}
{{- include "darkroom.refuse" (list "service-ray-version" "rayVersion" (printf "is %s, whose pods do not drain" $v.rayVersion) "serve with 2.60.0 or later") -}}
{{- end -}}
{{- include "darkroom-service.validate.times" . -}}
{{- include "darkroom-service.validate.autoscaling" (dict "field" "drawing" "values" $v.drawing) -}}
{{- include "darkroom-service.validate.autoscaling" (dict "field" "http" "values" $v.http) -}}
{{- if eq (dig "min_replicas" 1 $v.http.autoscaling | int64) 0 -}}
{{- include "darkroom.refuse" (list "http-from-zero" "http.autoscaling.min_replicas" "is 0, and without one of them no worker is ready and no request arrives that would start one" "give at least 1") -}}
{{- end -}}
{{- if and (hasPrefix "*" $v.ingress.host) (or $v.hosts $v.keys.disabled) -}}
{{- include "darkroom.refuse" (list "ingress-wildcard" "ingress.host" (printf "is %q, and the service knows its names one by one" $v.ingress.host) "give one host, or keys and no hosts") -}}
{{- end -}}
{{- include "darkroom-service.validate.incremental" . -}}
{{- include "darkroom.validate.labels" (dict "field" "serveService.labels" "labels" $v.serveService.labels) -}}
{{- if $v.kueue.queueName -}}
{{- include "darkroom.refuse" (list "kueue-service" "kueue.queueName" "is set" "queues are for jobs and clusters; a service that waits for quota is down") -}}
{{- end -}}
{{- if $v.networkPolicy.submitterExtraEgress -}}
{{- include "darkroom.refuse" (list "submission-ignored" "networkPolicy.submitterExtraEgress" "is given, and a service has no submitter" "remove it") -}}
{{- end -}}
{{- include "darkroom.validate.cluster" . -}}
{{- include "darkroom.validate.workers" (dict "root" . "rule" "service-no-workers" "problem" "has no worker, and nothing is served on the head") -}}
{{- include "darkroom.validate.redisName" (list . "the old and the new cluster of an upgrade") -}}
{{- end -}}

{{/* A request must be able to end before what carries it does. */}}
{{- define "darkroom-service.validate.times" -}}
{{- $longest := include "darkroom-service.longest" . | int64 -}}
{{- $drain := include "darkroom-service.drainSeconds" . | int64 -}}
{{- $delay := include "darkroom-service.deletionDelaySeconds" . | int64 -}}
{{- if or (gt $longest 2147483647) (gt (add $drain 30 | int64) 2147483647) (gt $delay 2147483647) -}}
{{- include "darkroom.refuse" (list "time-too-long" "limits.deadline_seconds, drainSeconds or upgrade.deletionDelaySeconds" "gives more than the 2147483647 seconds that Kubernetes takes" "lower it") -}}
{{- end -}}
{{- with get .Values.annotations "ray.io/initializing-timeout" -}}
{{- if not (regexMatch "^([1-9][0-9]*|([0-9]+([.][0-9]*)?(ns|us|ms|s|m|h))+)$" .) -}}
{{- include "darkroom.refuse" (list "initializing-timeout" "annotations.ray.io/initializing-timeout" (printf "is %q" .) "write 30m, 1h, or seconds") -}}
{{- end -}}
{{- end -}}
{{- if lt $drain $longest -}}
{{- include "darkroom.refuse" (list "drain-below-deadline" "drainSeconds" (printf "is %d, below limits.deadline_seconds %d" $drain $longest) "raise it, or lower the deadline") -}}
{{- end -}}
{{- if le $delay $longest -}}
{{- include "darkroom.refuse" (list "deletion-below-deadline" "upgrade.deletionDelaySeconds" (printf "is %d, not above limits.deadline_seconds %d" $delay $longest) "raise it, or lower the deadline") -}}
{{- end -}}
{{- end -}}

{{/* Takes dict: field, values. */}}
{{- define "darkroom-service.validate.autoscaling" -}}
{{- with .values.autoscaling -}}
{{- $low := dig "min_replicas" 1 . | int64 -}}
{{- $high := dig "max_replicas" 100 . | int64 -}}
{{- $first := dig "initial_replicas" $low . | int64 -}}
{{- if and (le $low $high) (or (lt $first $low) (gt $first $high)) -}}
{{- include "darkroom.refuse" (list "replicas-order" (printf "%s.autoscaling.initial_replicas" $.field) (printf "is %d, not between min_replicas %d and max_replicas %d" $first $low $high) "change it or remove it") -}}
{{- end -}}
{{- if gt $low $high -}}
{{- include "darkroom.refuse" (list "replicas-order" (printf "%s.autoscaling.min_replicas" $.field) (printf "is %d, above max_replicas %d" $low $high) "lower it or raise the other") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "darkroom-service.validate.incremental" -}}
{{- $incremental := .Values.upgrade.incremental -}}
{{- if $incremental.experimental -}}
{{- if not .Values.autoscaler.enabled -}}
{{- include "darkroom.refuse" (list "incremental-needs-autoscaler" "autoscaler.enabled" "is false beside upgrade.incremental.experimental" "turn it on, or use upgrade.type NewCluster") -}}
{{- end -}}
{{- if not $incremental.gatewayClassName -}}
{{- include "darkroom.refuse" (list "incremental-needs-gateway" "upgrade.incremental.gatewayClassName" "is empty" "name a GatewayClass, or use upgrade.type NewCluster") -}}
{{- end -}}
{{- /* The operator makes no `<name>-serve-svc` then, but one for each cluster, and leaves serveService aside. */ -}}
{{- if .Values.ingress.enabled -}}
{{- include "darkroom.refuse" (list "incremental-ingress" "ingress.enabled" "is true beside upgrade.incremental.experimental, with which there is no Service for it" "let clients come by the Gateway") -}}
{{- end -}}
{{- $service := .Values.serveService -}}
{{- if or $service.type $service.annotations $service.labels -}}
{{- include "darkroom.refuse" (list "incremental-service" "serveService" "is given beside upgrade.incremental.experimental, with which it would be ignored" "remove it") -}}
{{- end -}}
{{- if and .Values.keys.disabled (not .Values.hosts) -}}
{{- include "darkroom.refuse" (list "incremental-hosts" "hosts" "is empty without keys, and clients call the service by its Gateway's name" "give the Gateway's address or name") -}}
{{- end -}}
{{- if gt (int $incremental.stepSizePercent) (int $incremental.maxSurgePercent) -}}
{{- include "darkroom.refuse" (list "incremental-step" "upgrade.incremental.stepSizePercent" (printf "is %d, above maxSurgePercent %d" (int $incremental.stepSizePercent) (int $incremental.maxSurgePercent)) "lower it or raise the other") -}}
{{- end -}}
{{- end -}}
{{- end -}}
