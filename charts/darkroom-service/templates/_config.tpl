{{/*
What Ray Serve is told, and the times that follow from the longest request. Serve ignores keys that
it does not know, so every key here is written by the chart or held by the schema of values.
*/}}

{{/* Seconds of the longest request, whole. */}}
{{- define "darkroom-service.longest" -}}
{{- dig "deadline_seconds" 300 .Values.limits | float64 | ceil | int64 -}}
{{- end -}}

{{- define "darkroom-service.drainSeconds" -}}
{{- if kindIs "invalid" .Values.drainSeconds -}}
{{- add (include "darkroom-service.longest" . | int64) 10 -}}
{{- else -}}
{{- int64 .Values.drainSeconds -}}
{{- end -}}
{{- end -}}

{{- define "darkroom-service.deletionDelaySeconds" -}}
{{- if kindIs "invalid" .Values.upgrade.deletionDelaySeconds -}}
{{- add (include "darkroom-service.drainSeconds" . | int64) 60 -}}
{{- else -}}
{{- int64 .Values.upgrade.deletionDelaySeconds -}}
{{- end -}}
{{- end -}}

{{- define "darkroom-service.keysPath" -}}
/var/run/secrets/darkroom/keys
{{- end -}}

{{- define "darkroom-service.signingPath" -}}
/var/run/secrets/darkroom/signing
{{- end -}}

{{/* The names that the service has in the cluster, and those of values. A JSON list. */}}
{{- define "darkroom-service.hosts" -}}
{{- $service := printf "%s-serve-svc" (include "darkroom.fullname" .) -}}
{{- $hosts := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) (printf "%s.%s.svc.cluster.local" $service .Release.Namespace) -}}
{{- with .Values.ingress.host }}{{ $hosts = append $hosts . }}{{ end -}}
{{- toJson (concat $hosts .Values.hosts | uniq) -}}
{{- end -}}

{{/* A map with whole numbers as such: Helm's are floats, which print with an exponent. JSON. */}}
{{- define "darkroom-service.numbers" -}}
{{- $result := dict -}}
{{- range $key, $value := . -}}
{{- if and (kindIs "float64" $value) (eq (float64 (int64 $value)) (float64 $value)) -}}
{{- $value = int64 $value -}}
{{- end -}}
{{- if kindIs "map" $value -}}
{{- $value = include "darkroom-service.numbers" $value | fromJson -}}
{{- end -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* Settings of `darkroom serve`, as `build` of darkroom.jobs.serve.app takes them. JSON. */}}
{{- define "darkroom-service.settings" -}}
{{- $v := .Values -}}
{{- $settings := dict "models" $v.models "drain_seconds" (include "darkroom-service.drainSeconds" . | int64) -}}
{{- with $v.names }}{{ $_ := set $settings "names" . }}{{ end -}}
{{- with $v.loras }}{{ $_ := set $settings "loras" . }}{{ end -}}
{{- with $v.variant }}{{ $_ := set $settings "variant" . }}{{ end -}}
{{- with $v.jobs }}{{ $_ := set $settings "jobs" . }}{{ end -}}
{{- with $v.limits }}{{ $_ := set $settings "limits" . }}{{ end -}}
{{- with $v.origins }}{{ $_ := set $settings "origins" . }}{{ end -}}
{{- if not $v.keys.disabled }}{{ $_ := set $settings "keys" (include "darkroom-service.keysPath" .) }}{{ end -}}
{{- if $v.signing.secretName -}}
{{- $path := include "darkroom-service.signingPath" . -}}
{{- $_ := set $settings "signing" (dict "key" (printf "%s/tls.key" $path) "certificate" (printf "%s/tls.crt" $path)) -}}
{{- end -}}
{{- if or $v.hosts $v.keys.disabled }}{{ $_ := set $settings "hosts" (include "darkroom-service.hosts" . | fromJsonArray) }}{{ end -}}
{{- $_ := set $settings "http_replicas" $v.http.replicas -}}
{{- $_ := set $settings "workers" (merge (dict "num_workers" $v.drawing.replicas) $v.drawing.workers) -}}
{{- include "darkroom-service.numbers" $settings -}}
{{- end -}}

{{/* What every deployment has, over the code. Takes dict: root, name, values (replicas, autoscaling). JSON. */}}
{{- define "darkroom-service.deployment" -}}
{{- $deployment := dict "name" .name "max_surge_percent" 100 "graceful_shutdown_timeout_s" (include "darkroom-service.drainSeconds" .root | int64) -}}
{{- if .values.autoscaling -}}
{{- $_ := set $deployment "num_replicas" "auto" -}}
{{- $_ := set $deployment "autoscaling_config" .values.autoscaling -}}
{{- else -}}
{{- $_ := set $deployment "num_replicas" .values.replicas -}}
{{- end -}}
{{- include "darkroom-service.numbers" $deployment -}}
{{- end -}}

{{- define "darkroom-service.serveConfig" -}}
{{- $http := include "darkroom-service.deployment" (dict "root" . "name" "http" "values" .Values.http) | fromJson -}}
{{- /* They take no CPU, so only this keeps them off the head, whose loss would then fail requests. */ -}}
{{- $_ := set $http "ray_actor_options" (dict "num_cpus" 0 "label_selector" (dict "ray.io/node-group" "!headgroup")) -}}
{{- $drawing := include "darkroom-service.deployment" (dict "root" . "name" "drawing" "values" .Values.drawing) | fromJson -}}
{{- $application := dict "name" "darkroom" "route_prefix" "/" "import_path" "darkroom.jobs.serve.app:build" -}}
{{- $_ := set $application "args" (include "darkroom-service.settings" . | fromJson) -}}
{{- $_ := set $application "deployments" (list $http $drawing) -}}
{{- /* The application ends requests at their deadline; the proxy's timeout would cut them by another clock. */ -}}
{{- $options := dict "host" "0.0.0.0" "port" 8000 "request_timeout_s" nil -}}
{{- toJson (dict "proxy_location" "EveryNode" "http_options" $options "applications" (list $application)) -}}
{{- end -}}

{{/* What this chart adds to the pods of Ray (see darkroom.rayPod). JSON. */}}
{{- define "darkroom-service.pods" -}}
{{- $drain := include "darkroom-service.drainSeconds" . | int64 -}}
{{- $more := dict "leastGraceSeconds" (add $drain 30) -}}
{{- $_ := set $more "env" (dict "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S" (toString $drain)) -}}
{{- $_ := set $more "preStop" (list "python" "-c" (include "darkroom.drain" .)) -}}
{{- $volumes := list -}}
{{- $mounts := list -}}
{{- if not .Values.keys.disabled -}}
{{- $volumes = append $volumes (dict "name" "api-keys" "secret" (dict "secretName" .Values.keys.secretName)) -}}
{{- $mounts = append $mounts (dict "name" "api-keys" "mountPath" (include "darkroom-service.keysPath" .) "readOnly" true) -}}
{{- end -}}
{{- with .Values.signing.secretName -}}
{{- $volumes = append $volumes (dict "name" "signing" "secret" (dict "secretName" .)) -}}
{{- $mounts = append $mounts (dict "name" "signing" "mountPath" (include "darkroom-service.signingPath" $) "readOnly" true) -}}
{{- end -}}
{{- $_ := set $more "volumes" $volumes -}}
{{- $_ := set $more "mounts" $mounts -}}
{{- /* The operator's own probe runs wget, which the image lacks. A worker without a replica is not ready, but
alive: its liveness stays the operator's, which asks Ray's agent. */ -}}
{{- $probe := dict "httpGet" (dict "path" "/-/healthz" "port" 8000) "initialDelaySeconds" 10 "periodSeconds" 5 "timeoutSeconds" 5 "failureThreshold" 1 -}}
{{- $ports := list (dict "name" "serve" "containerPort" 8000) (dict "name" "metrics" "containerPort" 8080) -}}
{{- $_ := set $more "worker" (dict "readinessProbe" $probe "ports" $ports) -}}
{{- toJson $more -}}
{{- end -}}
