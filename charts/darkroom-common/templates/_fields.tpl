{{/* Written by hack/charts/generate.py: Kubernetes' names that values may use. */}}
{{- define "darkroom.podFields" -}}
activeDeadlineSeconds affinity dnsConfig dnsPolicy enableServiceLinks hostAliases hostUsers hostname hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os preemptionPolicy priorityClassName readinessGates resourceClaims runtimeClassName schedulerName schedulingGates setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes
{{- end -}}
{{- define "darkroom.containerFields" -}}
args command envFrom imagePullPolicy lifecycle livenessProbe ports readinessProbe resizePolicy securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir
{{- end -}}
