{{/* The service account that S3 permissions belong to. Nothing mounts its API token by default. */}}
{{- define "darkroom.serviceAccount" -}}
{{- if and .Values.enabled .Values.serviceAccount.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "darkroom.metadata" (dict "root" . "name" (include "darkroom.serviceAccountName" .)) | nindent 2 }}
  {{- $annotations := deepCopy .Values.serviceAccount.annotations }}
  {{- if eq .Values.s3.identity.mode "irsa" }}
  {{- $_ := set $annotations "eks.amazonaws.com/role-arn" .Values.s3.identity.roleArn }}
  {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end -}}
