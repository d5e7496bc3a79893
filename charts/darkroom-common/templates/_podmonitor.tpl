{{/* Scrapes the Ray pods of this cluster. */}}
{{- define "darkroom.podMonitor" -}}
{{- with .Values.monitoring.podMonitor }}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "darkroom.metadata" (dict "root" $ "name" (include "darkroom.fullname" $) "labels" .labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "darkroom.rayPodSelector" $ | nindent 6 }}
  podTargetLabels: [ray.io/cluster, ray.io/node-type, ray.io/group]
  podMetricsEndpoints:
    {{- range $port := list "metrics" "as-metrics" "dash-metrics" }}
    - port: {{ $port }}
      interval: {{ $.Values.monitoring.podMonitor.interval }}
    {{- end }}
{{- end }}
{{- end -}}
