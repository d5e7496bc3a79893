{{/*
Network policies: everything is denied to Ray pods and submitters but what they need. They select by
keys that values cannot set, so that no label takes a pod out of them.
*/}}

{{- define "darkroom.networkPolicies" -}}
{{- $root := . -}}
{{- $isService := include "darkroom.isService" $root -}}
{{- $submitter := include "darkroom.componentSelector" (dict "root" $root "component" "submitter") -}}
{{- $np := $root.Values.networkPolicy -}}
{{- $name := include "darkroom.fullname" $root -}}
{{- $scraped := or $np.prometheus.enabled (dig "monitoring" "enabled" false $root.Values.AsMap) -}}
{{- if $np.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "darkroom.metadata" (dict "root" $root "name" (printf "%s-ray" $name)) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "darkroom.rayPodSelector" $root | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - from:
        - podSelector:
            matchLabels:
              {{- include "darkroom.rayPodSelector" $root | nindent 14 }}
    {{- if $scraped }}
    - from:
        {{- toYaml $np.prometheus.from | nindent 8 }}
      ports:
        {{- include "darkroom.tcpPorts" (list 8080 44217 44227) | nindent 8 }}
    {{- end }}
    {{- with $np.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    - to:
        - podSelector:
            matchLabels:
              {{- include "darkroom.rayPodSelector" $root | nindent 14 }}
    {{- include "darkroom.commonEgress" $root | nindent 4 }}
    {{- with $np.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "darkroom.metadata" (dict "root" $root "name" (printf "%s-head" $name)) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "darkroom.rayPodSelector" $root | nindent 6 }}
      ray.io/node-type: head
  policyTypes: [Ingress, Egress]
  ingress:
    # The operator polls jobs here; without it a job fails after 300 seconds.
    - from:
        {{- toYaml $np.operatorFrom | nindent 8 }}
        {{- if not $isService }}
        - podSelector:
            matchLabels:
              {{- $submitter | nindent 14 }}
        {{- end }}
      ports:
        {{- include "darkroom.tcpPorts" (list 8265) | nindent 8 }}
  {{- if $root.Values.autoscaler.enabled }}
  egress:
    - to:
        {{- toYaml $np.apiServerTo | nindent 8 }}
      ports:
        {{- include "darkroom.tcpPorts" $np.apiServerPorts | nindent 8 }}
  {{- end }}
{{- if not $isService }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "darkroom.metadata" (dict "root" $root "name" (printf "%s-submitter" $name)) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- $submitter | nindent 6 }}
  # No ingress rule is no ingress; an empty list would differ from what the server stores.
  policyTypes: [Ingress, Egress]
  egress:
    - to:
        - podSelector:
            matchLabels:
              {{- include "darkroom.rayPodSelector" $root | nindent 14 }}
              ray.io/node-type: head
      ports:
        {{- include "darkroom.tcpPorts" (list 8265) | nindent 8 }}
    {{- include "darkroom.commonEgress" $root | nindent 4 }}
    {{- with $np.submitterExtraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "darkroom.tcpPorts" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $ports = append $ports (dict "port" (int .) "protocol" "TCP") -}}
{{- end -}}
{{- toYaml $ports -}}
{{- end -}}

{{/* DNS, S3 with STS, and what the S3 identity needs. */}}
{{- define "darkroom.commonEgress" -}}
{{- $np := .Values.networkPolicy -}}
- to:
    {{- toYaml $np.dnsTo | nindent 4 }}
  ports:
    {{- range $np.dnsPorts }}
    - port: {{ int64 . }}
      protocol: UDP
    - port: {{ int64 . }}
      protocol: TCP
    {{- end }}
- to:
    {{- toYaml $np.s3To | nindent 4 }}
  ports:
    {{- include "darkroom.tcpPorts" $np.s3Ports | nindent 4 }}
{{- if eq .Values.s3.identity.mode "podIdentity" }}
- to:
    {{- toYaml $np.podIdentityTo | nindent 4 }}
  ports:
    {{- include "darkroom.tcpPorts" (list 80) | nindent 4 }}
{{- end }}
{{- if include "darkroom.devS3Enabled" . }}
- to:
    - podSelector:
        matchLabels:
          {{- include "darkroom.componentSelector" (dict "root" . "component" "s3") | nindent 10 }}
  ports:
    {{- include "darkroom.tcpPorts" (list 8333) | nindent 4 }}
{{- end }}
{{- end -}}
